#include "server/tools/conventions.h"

#include "absl/strings/ascii.h"

namespace deltaserve {
namespace {

bool is_word_character(char c) {
  return absl::ascii_isalnum(c) || c == '_';
}

// Returns true if the source has the word, and not only as a part of a longer one.
bool has_word(std::string_view source, std::string_view word) {
  for (size_t at = source.find(word); at != source.npos; at = source.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool begins = at == 0 || !is_word_character(source[at - 1]);
    if (begins && (end == source.size() || !is_word_character(source[end]))) return true;
  }
  return false;
}

const ToolFormat* tool_format_of(std::string_view source, std::string_view option) {
  if (option == kRecognisedToolFormat) return recognise_tool_format(source);
  return option == kNoToolFormat ? nullptr : find_tool_format(option);
}

}  // namespace

ChatConventions find_conventions(std::string_view source, const ChatTemplate& chat_template,
                                 const ServedModel& model) {
  const ToolFormat* const format = tool_format_of(source, model.tool_format);
  ChatConventions conventions;
  conventions.markup =
      std::make_shared<AnswerMarkup>(format, recognise_reasoning_format(source), model.tokenizer);
  conventions.history = find_history_rules(chat_template, trusted_variables(model), format);
  conventions.knows_reasoning_effort = has_word(source, "reasoning_effort");
  conventions.knows_enable_thinking = has_word(source, "enable_thinking");
  conventions.knows_thinking = has_word(source, "thinking");
  return conventions;
}

TrustedVariables trusted_variables(const ServedModel& model) {
  TrustedVariables trusted;
  trusted.texts.insert(model.special_tokens.begin(), model.special_tokens.end());
  if (!model.additional_special_tokens.empty()) {
    trusted.lists["additional_special_tokens"] = model.additional_special_tokens;
  }
  return trusted;
}

}  // namespace deltaserve
