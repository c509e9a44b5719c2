#include "server/service/chat_prompt.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "models/base/text.h"
#include "server/template/chat_template.h"

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

// Cuts `parts` after the last occurrence of `content`.
absl::Status cut_behind(std::string_view content, std::vector<RenderedPart>* parts) {
  std::string whole;
  for (const RenderedPart& part : *parts) whole += part.text;
  size_t at = whole.rfind(content);
  if (at == std::string::npos) {
    // Templates may trim what they are given.
    const size_t first = content.find_first_not_of(" \t\r\n");
    const size_t last = content.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos) content = content.substr(first, last - first + 1);
    at = whole.rfind(content);
  }
  if (at == std::string::npos) {
    return invalid_argument(
        "continue_final_message: the template does not write the last message as it is");
  }
  size_t keep = at + content.size();
  for (RenderedPart& part : *parts) {
    const size_t kept = std::min(keep, part.text.size());
    part.text.resize(kept);
    keep -= kept;
  }
  return absl::OkStatus();
}

const ChatTemplate& template_for(const ServedModel& model, const ChatPrompt& prompt) {
  const bool with_tools = model.tool_chat_template != nullptr && !prompt.tools.is_null();
  return with_tools ? *model.tool_chat_template : *model.chat_template;
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
  if (model.chat_template != nullptr || prompt.has_template()) return std::nullopt;
  if (!model.chat_refusal.empty()) return invalid_parameter("messages", model.chat_refusal);
  return invalid_parameter("messages",
                           "messages need a chat template, and the model has none: use "
                           "/v1/completions, or start the server with --chat-template FILE");
}

absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt) {
  std::unique_ptr<const ChatTemplate> own;
  if (prompt.has_template()) {
    absl::StatusOr<std::unique_ptr<const ChatTemplate>> parsed =
        ChatTemplate::parse(*prompt.chat_template);
    if (!parsed.ok()) return prefixed("chat_template", parsed.status());
    own = *std::move(parsed);
  }
  const ChatTemplate& chat_template = own != nullptr ? *own : template_for(model, prompt);
  const bool continues = prompt.continues();
  std::string final_content;
  if (continues) {
    const json::string& content = prompt.messages.back().at("content").get_string();
    final_content.assign(content.data(), content.size());
  }
  json::object variables = std::move(prompt.variables);
  variables["messages"] = std::move(prompt.messages);
  // transformers gives both to every template, as none where a request has none.
  variables["tools"] = std::move(prompt.tools);
  if (!variables.contains("documents")) variables["documents"] = nullptr;
  variables["add_generation_prompt"] = !continues && prompt.add_generation_prompt.value_or(true);
  TrustedVariables trusted;
  trusted.texts.insert(model.special_tokens.begin(), model.special_tokens.end());
  if (!model.additional_special_tokens.empty()) {
    trusted.lists["additional_special_tokens"] = model.additional_special_tokens;
  }
  absl::StatusOr<std::vector<RenderedPart>> parts = chat_template.render(variables, trusted);
  if (!parts.ok()) return prefixed("messages", parts.status());
  if (continues) {
    const absl::Status status = cut_behind(final_content, &*parts);
    if (!status.ok()) return status;
  }
  variables.clear();  // before the ids are made
  std::vector<TextPart> texts;
  for (const RenderedPart& part : *parts) texts.push_back({part.text, part.trusted});
  return model.tokenizer->encode_parts(texts);
}

}  // namespace deltaserve
