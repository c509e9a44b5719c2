#include "server/service/chat_prompt.h"

#include <string_view>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::optional<ApiError> check_final_message(const ChatPrompt& prompt) {
  constexpr std::string_view kName = "continue_final_message";
  if (!prompt.continues()) return std::nullopt;
  if (prompt.add_generation_prompt.value_or(false)) {
    return invalid_parameter(std::string(kName),
                             str_cat(kName, " and add_generation_prompt cannot both be true"));
  }
  const json::object& last = prompt.messages.back().get_object();
  const json::value& content = last.at("content");
  if (last.at("role") == "assistant" && content.is_string() && !content.get_string().empty()) {
    return std::nullopt;
  }
  return invalid_parameter(
      std::string(kName),
      str_cat(kName, " needs a last message of the assistant with some content"));
}

}  // namespace

std::optional<ApiError> validate(const ChatPrompt& prompt, const ServedModel& model) {
  if (prompt.has_template() && !model.allow_request_template) {
    return invalid_parameter(
        "chat_template",
        "chat_template of a request is not accepted by this server (--allow-chat-template)");
  }
  if (std::optional<ApiError> error = check_final_message(prompt)) return error;
  if (model.tokenizer == nullptr) {
    return invalid_parameter("messages", "messages need a tokenizer, and the model has none");
  }
  const bool has_tool_template = model.tool_chat_template != nullptr && !prompt.tools.is_null();
  if (model.chat_template != nullptr || prompt.has_template() || has_tool_template) {
    return std::nullopt;
  }
  if (!model.chat_refusal.empty()) return invalid_parameter("messages", model.chat_refusal);
  return invalid_parameter("messages",
                           "messages need a chat template, and the model has none: use "
                           "/v1/completions, or start the server with --chat-template FILE");
}

}  // namespace deltaserve
