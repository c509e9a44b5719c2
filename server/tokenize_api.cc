#include "server/tokenize_api.h"

#include <array>
#include <vector>

#include "models/text.h"
#include "server/chat_api.h"
#include "server/json_text.h"
#include "server/openai_api.h"
#include "server/openai_response.h"

namespace deltaserve {
namespace {

constexpr ParameterRule kTokenizeParameters[] = {
    {"model"}, {"add_special_tokens"}, {"return_token_strs"}};
constexpr ParameterRule kDetokenizeParameters[] = {{"model"}};

using Ids = std::variant<std::vector<int32_t>, ApiError>;

ApiError no_tokenizer(std::string param) {
  return invalid_parameter(std::move(param), "the model has no tokenizer");
}

Ids encode_prompt(const RequestBody& body, const ServedModel& model, bool add_special) {
  if (model.tokenizer == nullptr) return no_tokenizer("prompt");
  if (body.prompt_nested || body.texts.size() != 1) {
    return invalid_parameter("prompt", "prompt must be a string");
  }
  std::vector<int32_t> ids = model.tokenizer->encode(body.texts.front());
  if (add_special && model.bos_to_prepend >= 0) ids.insert(ids.begin(), model.bos_to_prepend);
  return ids;
}

Ids encode_messages(FieldReader& fields, RequestBody* body, const ServedModel& model,
                    bool add_special) {
  ChatPrompt prompt;
  read_chat_prompt(fields, body->fields, model, &prompt);
  if (fields.error()) return *fields.error();
  absl::StatusOr<std::vector<int32_t>> ids = encode_chat(model, std::move(prompt));
  if (!ids.ok()) return api_error_from(ids.status(), "messages");
  if (add_special && model.bos_to_prepend >= 0) ids->insert(ids->begin(), model.bos_to_prepend);
  return *std::move(ids);
}

std::string tokens_json(const ServedModel& model, const std::vector<int32_t>& ids, bool strings) {
  std::string out = str_cat("{\"count\":", ids.size(), ",\"max_model_len\":null,\"tokens\":[");
  std::string list;
  append_json_ids(&list, ids);
  out.append(list).append("],\"token_strs\":");
  if (!strings) return out.append("null}");
  char separator = '[';
  if (ids.empty()) out.push_back('[');
  for (const int32_t id : ids) {
    out.push_back(std::exchange(separator, ','));
    append_json_string(&out, model.tokenizer->piece(id));
  }
  return out.append("]}");
}

}  // namespace

std::variant<std::string, ApiError> tokenize(std::string_view text, const ServedModel& model,
                                             const ServerLimits& limits) {
  RequestBody body;
  const BodyRules rules{kChatPromptParameters, kTokenizeParameters, "prompt"};
  if (std::optional<ApiError> error = read_request_body(text, rules, limits, &body)) return *error;
  FieldReader fields(body.fields, limits);
  if (std::optional<ApiError> error = check_model_name(fields, model)) return *error;
  const bool chat = fields.find("messages") != nullptr;
  if (chat == body.prompt_given) {
    return invalid_parameter("prompt", "either prompt or messages is required");
  }
  bool add_special = !chat, strings = false;
  fields.boolean("add_special_tokens", &add_special);
  fields.boolean("return_token_strs", &strings);
  if (fields.error()) return *fields.error();
  const Ids ids = chat ? encode_messages(fields, &body, model, add_special)
                       : encode_prompt(body, model, add_special);
  if (const ApiError* error = std::get_if<ApiError>(&ids)) return *error;
  return tokens_json(model, std::get<0>(ids), strings);
}

std::variant<std::string, ApiError> detokenize(std::string_view text, const ServedModel& model,
                                               const ServerLimits& limits) {
  RequestBody body;
  const BodyRules rules{{}, kDetokenizeParameters, "tokens"};
  if (std::optional<ApiError> error = read_request_body(text, rules, limits, &body)) return *error;
  FieldReader fields(body.fields, limits);
  if (std::optional<ApiError> error = check_model_name(fields, model)) return *error;
  if (model.tokenizer == nullptr) return no_tokenizer("tokens");
  if (!body.prompt_given || !body.texts.empty() || body.prompt_nested) {
    return invalid_parameter("tokens", "tokens must be a list of token ids");
  }
  const std::vector<int32_t> ids =
      body.token_lists.empty() ? std::vector<int32_t>() : std::move(body.token_lists.front());
  if (std::optional<ApiError> error = check_token_ids("tokens", ids, model)) return *error;
  std::string out = "{\"prompt\":";
  append_json_string(&out, model.tokenizer->decode(ids));
  out.push_back('}');
  return out;
}

}  // namespace deltaserve
