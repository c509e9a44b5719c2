// The state that every operation on values shares: the budget of a render, its first error, and
// functions that make values and count their memory.
#pragma once
#include <ctime>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/base/text.h"
#include "server/template/limits.h"
#include "server/template/value.h"

namespace deltaserve {

// After the first error every operation returns undefined and loops end at failed(); the value of a
// failed render is never used.
class Runtime {
 public:
  // `input_bytes` is the size of the variables as limits.h counts it.
  Runtime(const TemplateLimits& limits, size_t input_bytes, std::function<std::tm()> local_time);

  const TemplateLimits& limits() const { return limits_; }
  std::tm local_time() const { return local_time_(); }

  // ---- Errors. These functions return undefined.
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }
  void at_line(int line) { line_ = line; }
  int line() const { return line_; }
  // Fails with INVALID_ARGUMENT and the line of the template.
  template <class... Parts>
  Value fail(const Parts&... parts) {
    return fail_with(absl::StatusCode::kInvalidArgument, str_cat(parts...));
  }
  // Fails because a value that does not exist was used.
  Value fail_undefined(const Undefined& missing);
  // Fails with RESOURCE_EXHAUSTED and the line of the template.
  Value exceed(std::string_view limit);
  // Fails with INVALID_ARGUMENT and exactly this message.
  Value raise(std::string_view message);

  // ---- Budget. These functions return false, and set failed(), if it does not suffice.
  bool spend(size_t steps);
  bool spend_bytes(size_t bytes) { return spend(1 + bytes / limits_.bytes_per_step); }
  // Checks that there is memory for `bytes` more.
  bool has_room(size_t bytes);
  // Checks the memory and spends the time for work that makes `bytes` of new text or values.
  bool can_make(size_t bytes) { return has_room(bytes) && spend_bytes(bytes); }
  MemoryCount* memory() { return &memory_; }

  // ---- Values
  Value text(TaintedText text);
  // Makes a text that Jinja calls Markup; see TextNode.
  Value markup(TaintedText text);
  Value text(std::string_view bytes, bool trusted) {
    return this->text({std::string(bytes), trusted});
  }
  Value sequence(SequenceValue::Type type, std::vector<Value> items, bool trusted = false);
  // Makes a pair of a key and the list of the items that have it.
  Value group(const Value& key, std::vector<Value> items);
  Value list(std::vector<Value> items) {
    return sequence(SequenceValue::Type::kList, std::move(items));
  }
  Value generator(std::vector<Value> items) {
    return sequence(SequenceValue::Type::kGenerator, std::move(items));
  }
  // Makes a dictionary. Keys are texts; Dict::build_index() describes how equal ones are treated.
  Value dict(std::vector<Dict::Entry> entries, bool trusted = false);
  Value name_space(std::vector<std::pair<std::string_view, Value>> attributes);
  Value method(const Value& self, const Builtin* method);
  Value macro(const Macro* macro, std::vector<std::pair<uint32_t, Value>> variables, bool in_scope);
  Value cycle(std::vector<Value> items, bool is_joiner);
  std::shared_ptr<Loop> loop(std::shared_ptr<const SequenceValue> items);
  // Counts the memory again after the text of `node` grew in place.
  void recharge(TextNode* node);

 private:
  Value fail_with(absl::StatusCode code, std::string message);
  // Returns the `depth` of a new container around `value`.
  static int deeper(int depth, const Value& value) { return std::max(depth, value.depth() + 1); }
  // Returns false, and sets failed(), if a new value exceeds the limits.
  bool accept(int depth);

  const TemplateLimits limits_;
  const size_t memory_limit_;
  int64_t steps_left_;
  const std::function<std::tm()> local_time_;
  int line_ = 0;
  absl::Status status_;
  MemoryCount memory_;
  std::deque<Namespace> namespaces_;
};

}  // namespace deltaserve
