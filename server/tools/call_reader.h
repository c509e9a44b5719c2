// Readers of tool calls, one for each syntax. A reader gets the text after the marker that begins a
// call. It reports nothing until it has read a name and knows that arguments follow, because until
// then the text may turn out to be no call.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/tools/answer_delta.h"
#include "server/tools/literals.h"
#include "server/tools/tool_format.h"

namespace deltaserve {

// Writes calls as deltas. It numbers them and gives them ids.
class CallWriter {
 public:
  // `calls_before` counts the calls of the conversation. With `only_first` the others are dropped.
  CallWriter(CallIdShape ids, int64_t calls_before, bool only_first)
      : ids_(ids), calls_before_(calls_before), only_first_(only_first) {}

  // The deltas go to `out` from now on.
  void write_to(std::vector<AnswerDelta>* out) { out_ = out; }

  // Begins a call. `id` is the id that the model wrote, or empty; it is used if it has the right
  // shape.
  void begin(std::string_view name, std::string_view id = {});
  void arguments(std::string_view json);
  // Ends the call; does nothing if none is open.
  void end();

  bool open() const { return open_; }
  int num_calls() const { return num_calls_; }

 private:
  bool dropped() const { return only_first_ && num_calls_ > 1; }

  const CallIdShape ids_;
  const int64_t calls_before_;
  const bool only_first_;
  std::vector<AnswerDelta>* out_ = nullptr;
  int num_calls_ = 0;
  bool open_ = false;
};

class CallReader {
 public:
  enum class Status : uint8_t {
    kGoing,
    kDone,    // the calls have ended; text that was not taken comes after them
    kFailed,  // this is no call, or no further one
  };

  virtual ~CallReader() = default;
  // Takes the part of `text` that belongs to the calls, and stores its bytes in *taken. `text` has
  // whole characters and codes of control tokens.
  virtual Status take(std::string_view text, size_t* taken) = 0;
  // Ends the answer; with `cut` because it reached its length.
  virtual void finish(bool /*cut*/) {}
};

// The parameters of all readers.
struct CallContext {
  const ToolFormat& format;
  const ToolArguments& tools;
  CallWriter& writer;
};

// An object {"name": ..., "arguments": {...}}, or a list of them. Members may come in any order;
// arguments may also be called "parameters" or be a string of JSON. With `bare` no marker begins
// the object, so it must have no other members; with `known_only` it must also name a tool of the
// request.
std::unique_ptr<CallReader> json_call_reader(const CallContext& context, bool bare,
                                             bool known_only);
std::unique_ptr<CallReader> header_call_reader(const CallContext& context);
std::unique_ptr<CallReader> tagged_call_reader(const CallContext& context);
// NAME(KEY=VALUE, ...), with white space between calls.
std::unique_ptr<CallReader> python_call_reader(const CallContext& context);

// Returns true for the characters of tools' names.
bool is_name_character(char c);

// Finds the end of a JSON value that begins with a brace, a bracket or a quotation mark. A control
// token inside a string has no text; elsewhere it ends the value.
class JsonValueEnd {
 public:
  // Takes the next character; true: it is the value's last.
  bool take(char c);
  bool in_string() const { return in_string_; }

 private:
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace deltaserve
