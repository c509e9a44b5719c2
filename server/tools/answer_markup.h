// The markup of a model's answers: its formats of tool calls and reasoning, and which of their
// markers are control tokens.
//
// A marker of plain text may come in any tokens. A control token has no text, and its spelling is
// not a marker. So the parser represents it by a code of two bytes that occur in no text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "models/tokenizer/base/tokenizer.h"
#include "server/tools/reasoning_format.h"
#include "server/tools/tool_format.h"

namespace deltaserve {

// Begins the code of a control token; UTF-8 has no such byte.
inline constexpr char kControlCode = '\xFF';
inline constexpr size_t kControlCodeBytes = 2;

// Returns `text` without codes.
std::string without_control_codes(std::string_view text);

// Constant after construction.
class AnswerMarkup {
 public:
  // Either format may be null, and `reasoning` must outlive the markup. Without a tokenizer all
  // markers are text.
  AnswerMarkup(const ToolFormat* tools, const ReasoningFormat* reasoning,
               const Tokenizer* tokenizer);

  // Return the two formats, with codes for the markers that are control tokens; nullopt if there is
  // none.
  const std::optional<ToolFormat>& tools() const { return tools_; }
  const std::optional<ReasoningFormat>& reasoning() const { return reasoning_; }
  // Returns the format as prompts spell it; null if there is none.
  const ReasoningFormat* spelled_reasoning() const { return spelled_reasoning_; }

  // Returns a marker in the form that grammars use (engine/grammar/grammar_parts.h).
  std::string in_grammar(std::string_view marker) const;

  // Returns the code of a control token; empty if it is not a marker.
  std::string_view code(int32_t token) const;

 private:
  void encode(const Tokenizer& tokenizer, std::string* marker);

  std::optional<ToolFormat> tools_;
  std::optional<ReasoningFormat> reasoning_;
  const ReasoningFormat* spelled_reasoning_;
  std::map<int32_t, std::string> codes_;
};

}  // namespace deltaserve
