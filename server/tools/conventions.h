// Conventions are the facts about a model that the source of its chat template shows: how the model
// writes reasoning and tool calls, which form of messages the template wants, and which switches it
// has.
#pragma once
#include <memory>
#include <string_view>

#include "server/base/served_model.h"
#include "server/template/chat_template.h"
#include "server/tools/answer_markup.h"
#include "server/tools/history.h"

namespace deltaserve {

// Values of --tool-format that are no format's name.
inline constexpr std::string_view kRecognisedToolFormat = "auto";
inline constexpr std::string_view kNoToolFormat = "none";

// Constant after construction.
struct ChatConventions {
  std::shared_ptr<const AnswerMarkup> markup = nullptr;  // never null where they are used
  HistoryRules history = {};
  // The variables that the template reads.
  bool knows_reasoning_effort = false;
  bool knows_enable_thinking = false;
  bool knows_thinking = false;
  bool knows_verbosity = false;

  // Returns true if reasoning_effort changes anything.
  bool knows_effort() const {
    return knows_reasoning_effort || knows_enable_thinking || knows_thinking;
  }
  bool writes_reasoning() const { return markup->reasoning().has_value(); }
};

// Reads the source of a template and renders it a few times. `model` has the tokenizer, the special
// tokens and the value of --tool-format.
ChatConventions find_conventions(std::string_view source, const ChatTemplate& chat_template,
                                 const ServedModel& model);

// Returns the variables that every template of the model sees.
TrustedVariables trusted_variables(const ServedModel& model);

}  // namespace deltaserve
