#include "server/service/tokens.h"

#include <utility>

#include "server/service/chat_renderer.h"
#include "server/service/generation_request.h"
#include "server/service/rules.h"

namespace deltaserve {
namespace {

ApiError no_tokenizer(std::string param) {
  return invalid_parameter(std::move(param), "the model has no tokenizer");
}

}  // namespace

std::variant<std::vector<int32_t>, ApiError> tokenize(TokenizeRequest request,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits) {
  if (auto error = check_model_name(request.model, model, limits)) return *std::move(error);
  const bool bos = request.add_special_tokens.value_or(!request.chat.has_value());
  if (!request.chat) {
    if (model.tokenizer == nullptr) return no_tokenizer("prompt");
    absl::StatusOr<std::vector<int32_t>> ids =
        encode_text(model, request.prompt.value_or(""), bos, request.split_special_tokens);
    if (!ids.ok()) return api_error_from(ids.status(), "prompt");
    return *std::move(ids);
  }
  if (auto error = validate(*request.chat, Interface::kChat, model, limits))
    return *std::move(error);
  absl::StatusOr<std::vector<int32_t>> ids = encode_chat(model, *std::move(request.chat));
  if (!ids.ok()) return api_error_from(ids.status(), "messages");
  if (bos) surround(*model.tokenizer, model.bos_to_prepend, &*ids);
  return *std::move(ids);
}

std::variant<std::string, ApiError> detokenize(const DetokenizeRequest& request,
                                               const ServedModel& model,
                                               const ServerLimits& limits) {
  if (auto error = check_model_name(request.model, model, limits)) return *std::move(error);
  if (model.tokenizer == nullptr) return no_tokenizer("tokens");
  if (auto error = check_token_ids("tokens", "tokens", request.tokens, model))
    return *std::move(error);
  absl::StatusOr<std::string> text = model.tokenizer->decode(
      request.tokens, request.skip_special_tokens ? SpecialTokens::kSkip : SpecialTokens::kKeep);
  if (!text.ok()) return api_error_from(text.status(), "tokens");
  return *std::move(text);
}

}  // namespace deltaserve
