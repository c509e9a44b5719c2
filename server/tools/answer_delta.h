// An answer as clients see it: content, reasoning and tool calls, and the pieces in which it
// arrives. Each front turns the pieces into its own frames; a whole answer is their sum, so that
// both always agree.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

struct AnswerDelta {
  enum class Kind : uint8_t {
    kContent,
    kReasoning,
    kCallBegin,  // of a tool call; its arguments follow
    kArguments,  // the next bytes of the JSON object
    kCallEnd,    // of the call; its arguments are complete unless the answer was cut
  };
  Kind kind = Kind::kContent;
  std::string text = {};  // kCallBegin: the name of the tool
  int call = -1;          // of a tool call, from 0
  std::string id = {};    // kCallBegin

  bool operator==(const AnswerDelta&) const = default;
};

// Appends a piece, or joins it with the last one if that is of the same kind and call.
void append_delta(AnswerDelta delta, std::vector<AnswerDelta>* deltas);

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // the text of a JSON object, or its beginning if the answer was cut

  bool operator==(const ToolCall&) const = default;
};

struct ParsedAnswer {
  std::string content = {};
  std::string reasoning = {};
  std::vector<ToolCall> calls = {};

  void add(std::span<const AnswerDelta> deltas);
  size_t bytes() const;
  bool operator==(const ParsedAnswer&) const = default;
};

}  // namespace deltaserve
