// The prompt of a chat: messages and what else a chat template sees, and the token ids that it
// writes. Pure functions, safe on any input and from any thread.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/api_error.h"
#include "server/base/served_model.h"

namespace deltaserve {

struct ChatPrompt {
  // There is at least one object, of the form that normalize_messages() of chat_messages.h makes.
  boost::json::array messages;
  boost::json::value tools;                    // null = none
  boost::json::object variables;               // of chat_template_kwargs
  std::optional<std::string> chat_template;    // of this request; absent or empty = the model's
  std::optional<bool> add_generation_prompt;   // true, unless the final message is continued
  std::optional<bool> continue_final_message;  // the last message is the beginning of the answer

  bool has_template() const { return chat_template && !chat_template->empty(); }
  bool continues() const { return continue_final_message.value_or(false); }
};

// Checks what does not need the template. The parameters have the same names in every front.
[[nodiscard]] std::optional<ApiError> validate(const ChatPrompt& prompt, const ServedModel& model);

// Returns the token ids of the rendered template. Text of the template itself may become control
// tokens, text of the request never does; no BOS is added to the rendered template.
// INVALID_ARGUMENT: the template refuses the messages, or there is none.
absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt);

}  // namespace deltaserve
