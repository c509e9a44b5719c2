#include "server/openai/tokenize_api.h"

#include <utility>
#include <vector>

#include "models/base/text.h"
#include "server/base/json_text.h"
#include "server/openai/chat_api.h"
#include "server/service/tokens.h"

namespace deltaserve {
namespace {

constexpr ParameterRule kTokenizeParameters[] = {
    {"model"}, {"add_special_tokens"}, {"return_token_strs"}, {"split_special_tokens"}};
constexpr ParameterRule kDetokenizeParameters[] = {{"model"}, {"skip_special_tokens"}};

// The parameters of a chat are not allowed beside a prompt. Returns whether one of them has another
// value than its default.
bool refuse_chat_members(FieldReader& fields) {
  for (const ParameterRule& rule : chat_prompt_rules()) {
    const boost::json::value* value = fields.find(rule.name);
    if (value == nullptr) continue;
    const ChatOptions defaults;
    const bool is_default =
        (rule.name == "add_generation_prompt" && *value == defaults.add_generation_prompt) ||
        (rule.name == "continue_final_message" && *value == defaults.continue_final_message);
    if (!is_default) fields.fail(rule.name, "needs messages");
  }
  return fields.error().has_value();
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
  const BodyRules rules{chat_prompt_rules(), kTokenizeParameters, "prompt"};
  if (auto error = read_request_body(text, rules, limits, &body)) return *std::move(error);
  FieldReader fields(body.fields, limits);
  TokenizeRequest request;
  std::optional<bool> strings;
  fields.string("model", &request.model);
  if (fields.error()) return *fields.error();
  const bool chat = fields.find("messages") != nullptr;
  if (chat == body.prompt_given) {
    return invalid_parameter("prompt", "either prompt or messages is required");
  }
  fields.boolean("add_special_tokens", &request.add_special_tokens);
  fields.boolean("return_token_strs", &strings);
  fields.boolean("split_special_tokens", &request.split_special_tokens);
  if (fields.error()) return *fields.error();
  if (chat && request.split_special_tokens.has_value()) {
    return invalid_parameter("split_special_tokens",
                             "split_special_tokens is for a prompt: in messages they always are");
  }
  if (chat) {
    read_chat_prompt(fields, body.fields, &request.chat.emplace());
    if (fields.error()) return *fields.error();
  } else if (refuse_chat_members(fields)) {
    return *fields.error();
  } else if (body.prompt_nested || body.texts.size() != 1) {
    return invalid_parameter("prompt", "prompt must be a string");
  } else {
    request.prompt = std::move(body.texts.front());
  }
  const auto ids = tokenize(std::move(request), model, limits);
  if (const ApiError* error = std::get_if<ApiError>(&ids)) return *error;
  return tokens_json(model, std::get<0>(ids), strings.value_or(false));
}

std::variant<std::string, ApiError> detokenize(std::string_view text, const ServedModel& model,
                                               const ServerLimits& limits) {
  RequestBody body;
  const BodyRules rules{{}, kDetokenizeParameters, "tokens"};
  if (auto error = read_request_body(text, rules, limits, &body)) return *std::move(error);
  FieldReader fields(body.fields, limits);
  DetokenizeRequest request;
  std::optional<bool> skip;
  fields.string("model", &request.model);
  fields.boolean("skip_special_tokens", &skip);
  if (fields.error()) return *fields.error();
  if (!body.prompt_given || !body.texts.empty() || body.prompt_nested) {
    return invalid_parameter("tokens", "tokens must be a list of token ids");
  }
  request.skip_special_tokens = skip.value_or(false);
  if (!body.token_lists.empty()) request.tokens = std::move(body.token_lists.front());
  const auto made = detokenize(request, model, limits);
  if (const ApiError* error = std::get_if<ApiError>(&made)) return *error;
  std::string out = "{\"prompt\":";
  append_json_string(&out, std::get<0>(made));
  out.push_back('}');
  return out;
}

}  // namespace deltaserve
