#include "server/service/generation_request.h"

#include <algorithm>
#include <utility>

#include "models/base/text.h"
#include "server/service/chat_marks.h"
#include "server/service/shared_prefix.h"

namespace deltaserve {
namespace {

std::optional<ApiError> check_prompts(const ServedModel& model, const ServerLimits& limits,
                                      const GenerationRequest& request) {
  if (!request.text_prompts.empty() && model.tokenizer == nullptr) {
    return invalid_parameter(std::string(request.text_name),
                             "the model has no tokenizer: the prompt must be a list of token ids");
  }
  for (size_t i = 0; i < request.token_prompts.size(); ++i) {
    const std::vector<int32_t>& ids = request.token_prompts[i];
    const std::string place = request.prompts_are_listed ? str_cat(request.ids_name, "[", i, "]")
                                                         : std::string(request.ids_name);
    if (ids.empty()) {
      return invalid_parameter(std::string(request.ids_name), str_cat(place, " must not be empty"));
    }
    if (auto error = check_token_ids(request.ids_name, place, ids, model)) return error;
  }
  const int most =
      answers_with_tokens(request.interface) ? limits.choices : limits.embedding_inputs;
  const size_t n = static_cast<size_t>(request.parameters.n);
  if (request.num_prompts() * n > static_cast<size_t>(most)) {
    return invalid_parameter("n", str_cat("prompts x n is above ", most));
  }
  return std::nullopt;
}

std::optional<ApiError> encode_messages(const ServedModel& model, const ServerLimits& limits,
                                        ChatPrompt prompt, EncodedPrompts* prompts) {
  const std::vector<ChatMark> marks = std::move(prompt.marks);
  absl::StatusOr<std::unique_ptr<ChatRenderer>> chat = ChatRenderer::make(model, std::move(prompt));
  if (!chat.ok()) return api_error_from(chat.status(), "messages");
  const absl::StatusOr<ChatRenderer::Parts> parts = (*chat)->render();
  if (!parts.ok()) return api_error_from(parts.status(), "messages");
  absl::StatusOr<std::vector<int32_t>> ids = encode_parts(*model.tokenizer, *parts);
  if (!ids.ok()) return api_error_from(ids.status(), "messages");
  if (ids->empty()) return invalid_parameter("messages", "the chat template wrote no tokens");
  if (model.snapshots > 0) {
    SharedPrefix shared(*model.tokenizer, *parts, *ids, limits.mark_text_bytes);
    prompts->marks = find_marks(marks, chat->get(), &shared);
  }
  prompts->ids.push_back(*std::move(ids));
  prompts->answer_rules = (*chat)->answer_rules(*parts);
  if (prompts->answer_rules != nullptr) {
    prompts->demand = (*chat)->answer_demand(*prompts->answer_rules);
  }
  prompts->chat = *std::move(chat);
  return std::nullopt;
}

// Checks whether all log-probabilities of a request may be held as text. Those of a prompt count if
// it is echoed.
std::optional<ApiError> check_logprob_entries(const GenerationRequest& request,
                                              const ServerLimits& limits,
                                              const std::vector<std::vector<int32_t>>& prompts) {
  const GenerateRequest& generate = request.parameters.generate;
  const int32_t most = std::max(generate.logprobs, generate.prompt_logprobs);
  if (!request.answer_is_held || most < 0) return std::nullopt;
  int64_t entries = 0;
  for (const std::vector<int32_t>& ids : prompts) {
    if (generate.logprobs >= 0) entries += request.parameters.n * generate.max_tokens;
    if (generate.prompt_logprobs >= 0) {
      entries += request.parameters.n * static_cast<int64_t>(ids.size());
    }
  }
  if (entries <= limits.logprob_entries / (1 + most)) return std::nullopt;
  return invalid_parameter(
      generate.logprobs < 0 ? "prompt_logprobs" : "logprobs",
      str_cat("choices x tokens x (1 + logprobs) is above ", limits.logprob_entries,
              ": ask for fewer logprobs or tokens, or send several requests"));
}

// Cuts the prompts as the client asks. The texts of cut prompts are dropped.
void truncate(GenerationRequest* request, EncodedPrompts* prompts) {
  const auto most = static_cast<size_t>(request->parameters.truncate_prompt_tokens);
  if (most == 0) return;
  for (std::vector<int32_t>& ids : prompts->ids) {
    if (ids.size() <= most) continue;
    prompts->truncated = true;
    if (request->parameters.truncate_left)
      ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(most));
    ids.resize(most);
  }
  if (!prompts->truncated) return;
  prompts->marks.clear();
  prompts->chat.reset();
  request->text_prompts.clear();
}

}  // namespace

std::optional<ApiError> complete_request(Parameters given, const ServedModel& model,
                                         const ServerLimits& limits, GenerationRequest* request) {
  if (auto error = validate(given, request->interface, model, limits)) return error;
  if (request->chat) {
    if (auto error = validate(*request->chat, request->interface, model, limits)) return error;
  }
  request->parameters = with_defaults(std::move(given), request->interface, limits);
  return check_prompts(model, limits, *request);
}

std::optional<ApiError> encode_prompts(const ServedModel& model, const ServerLimits& limits,
                                       GenerationRequest* request, EncodedPrompts* prompts) {
  prompts->ids = std::move(request->token_prompts);
  request->token_prompts.clear();
  if (request->chat) {
    ChatPrompt chat = *std::move(request->chat);
    request->chat.reset();
    if (auto error = encode_messages(model, limits, std::move(chat), prompts)) return error;
    truncate(request, prompts);
    // If answers are parsed for markup, control tokens are part of the markup.
    if (prompts->answer_rules != nullptr) request->parameters.generate.show_control_tokens = false;
    return check_logprob_entries(*request, limits, prompts->ids);
  }
  const std::string name(request->text_name);
  int64_t num_tokens = 0;
  for (const std::string& text : request->text_prompts) {
    absl::StatusOr<std::vector<int32_t>> ids =
        encode_text(model, text, request->parameters.add_special_tokens,
                    request->parameters.split_special_tokens);
    if (!ids.ok()) return api_error_from(ids.status(), name);
    if (ids->empty()) return invalid_parameter(name, "a prompt has no tokens");
    num_tokens += static_cast<int64_t>(ids->size());
    if (num_tokens > limits.prompt_tokens) {
      return invalid_parameter(name, str_cat("more than ", limits.prompt_tokens, " prompt tokens"));
    }
    prompts->ids.push_back(*std::move(ids));
  }
  truncate(request, prompts);
  return check_logprob_entries(*request, limits, prompts->ids);
}

absl::StatusOr<std::vector<int32_t>> encode_text(const ServedModel& model, const std::string& text,
                                                 bool bos, const std::optional<bool>& split) {
  absl::StatusOr<std::vector<int32_t>> ids = split.value_or(model.split_special_tokens)
                                                 ? model.tokenizer->encode_as_text(text)
                                                 : model.tokenizer->encode(text);
  if (ids.ok() && bos) surround(*model.tokenizer, model.bos_to_prepend, &*ids);
  return ids;
}

}  // namespace deltaserve
