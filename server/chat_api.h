// The request of POST /v1/chat/completions: JSON in, a checked request and its prompt out. Pure
// functions, safe on any input and from any thread.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/generation_parameters.h"

namespace deltaserve {

// What a chat template gets to see.
struct ChatPrompt {
  boost::json::array messages;    // see normalize_messages()
  boost::json::value tools;       // null = none
  boost::json::object variables;  // of chat_template_kwargs
  std::string chat_template;      // of this request, empty = the model's
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the last message is the beginning of the answer
};

struct ChatRequest {
  ChatPrompt prompt;
  GenerationParameters parameters;
};

// The parameters that read_chat_prompt() knows.
extern const std::array<ParameterRule, 6> kChatPromptParameters;

// Reads the parameters above; the large ones are moved out of `body`.
void read_chat_prompt(FieldReader& fields, boost::json::object& body, const ServedModel& model,
                      ChatPrompt* out);

// Fills `request`, or returns the error to report. `error.param` names a top-level parameter.
[[nodiscard]] std::optional<ApiError> parse_chat_request(std::string_view json,
                                                         const ServedModel& model,
                                                         const ServerLimits& limits,
                                                         ChatRequest* request);

// The token ids of the rendered template. What the template itself writes may become control
// tokens, what comes from the request never does; no BOS is added to what the template wrote.
// INVALID_ARGUMENT: the template refuses the messages, or there is none.
absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt);

}  // namespace deltaserve
