#include "server/openai_api.h"

#include <algorithm>

#include "models/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr ParameterRule kCompletionParameters[] = {
    {"max_tokens"}, {"echo"}, {"best_of"}, {"suffix"}, {"prompt_logprobs"}};

void read_output(FieldReader& fields, const ServerLimits& limits, CompletionRequest* request) {
  GenerateRequest& generate = request->parameters.generate;
  generate.max_tokens = limits.default_max_tokens;
  fields.integer("max_tokens", 0, limits.max_tokens, &generate.max_tokens);
  int64_t logprobs = -1;
  fields.integer("logprobs", 0, limits.logprobs, &logprobs);
  generate.logprobs = static_cast<int32_t>(logprobs);
  fields.boolean("echo", &request->echo);
  generate.prompt_logprobs = request->echo ? generate.logprobs : -1;
  fields.only_neutral("best_of", 1);
  fields.only_neutral("suffix", nullptr);
  fields.only_neutral("prompt_logprobs", nullptr);
}

// Prompts as far as they can be judged without encoding them.
std::optional<ApiError> check_prompts(const ServedModel& model, const ServerLimits& limits,
                                      const CompletionRequest& request) {
  if (!request.text_prompts.empty() && model.tokenizer == nullptr) {
    return invalid_parameter("prompt",
                             "the model has no tokenizer: the prompt must be a list of token ids");
  }
  for (const std::vector<int32_t>& ids : request.token_prompts) {
    if (ids.empty()) return invalid_parameter("prompt", "a prompt must not be empty");
    if (std::optional<ApiError> error = check_token_ids("prompt", ids, model)) return error;
  }
  const size_t n = static_cast<size_t>(request.parameters.n);
  if (request.num_prompts() * n > static_cast<size_t>(limits.choices)) {
    return invalid_parameter("n", str_cat("prompts x n is above ", limits.choices));
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> parse_completion_request(std::string_view text, const ServedModel& model,
                                                 const ServerLimits& limits,
                                                 CompletionRequest* request) {
  RequestBody body;
  const BodyRules rules{kGenerationParameters, kCompletionParameters, "prompt"};
  if (std::optional<ApiError> error = read_request_body(text, rules, limits, &body)) return error;
  if (!body.has_prompt()) {
    return invalid_parameter("prompt", "prompt is required and must not be empty");
  }
  request->text_prompts = std::move(body.texts);
  request->token_prompts = std::move(body.token_lists);

  FieldReader fields(body.fields, limits);
  read_generation_parameters(fields, model, &request->parameters);
  read_output(fields, limits, request);
  check_generation_parameters(fields, request->parameters);
  if (std::optional<ApiError> error = check_model_name(fields, model)) return error;
  return check_prompts(model, limits, *request);
}

std::optional<ApiError> take_prompts(const ServedModel& model, const ServerLimits& limits,
                                     CompletionRequest* request,
                                     std::vector<std::vector<int32_t>>* prompts) {
  *prompts = std::move(request->token_prompts);
  request->token_prompts.clear();
  int64_t num_tokens = 0;
  for (const std::string& text : request->text_prompts) {
    std::vector<int32_t> ids = model.tokenizer->encode(text);
    if (model.bos_to_prepend >= 0) ids.insert(ids.begin(), model.bos_to_prepend);
    if (ids.empty()) return invalid_parameter("prompt", "a prompt has no tokens");
    num_tokens += static_cast<int64_t>(ids.size());
    if (num_tokens > limits.prompt_tokens) {
      return invalid_parameter("prompt",
                               str_cat("more than ", limits.prompt_tokens, " prompt tokens"));
    }
    prompts->push_back(std::move(ids));
  }
  return check_logprob_entries(request->parameters, request->echo, limits, *prompts);
}

std::optional<ApiError> check_logprob_entries(const GenerationParameters& parameters, bool echo,
                                              const ServerLimits& limits,
                                              const std::vector<std::vector<int32_t>>& prompts) {
  const GenerateRequest& generate = parameters.generate;
  if (generate.logprobs < 0) return std::nullopt;
  int64_t entries = 0;
  for (const std::vector<int32_t>& ids : prompts) {
    entries += parameters.n * generate.max_tokens;
    if (echo) entries += parameters.n * static_cast<int64_t>(ids.size());
  }
  if (entries <= limits.logprob_entries / (1 + generate.logprobs)) return std::nullopt;
  return invalid_parameter(
      "logprobs", str_cat("choices x tokens x (1 + logprobs) is above ", limits.logprob_entries,
                          ": ask for fewer logprobs or tokens, or send several requests"));
}

std::optional<ApiError> check_token_ids(std::string_view param, const std::vector<int32_t>& ids,
                                        const ServedModel& model) {
  const bool inside = std::all_of(ids.begin(), ids.end(),
                                  [&](int32_t id) { return id >= 0 && id < model.vocab_size; });
  if (inside) return std::nullopt;
  return invalid_parameter(
      std::string(param),
      str_cat(param, " has a token id outside the vocabulary of ", model.vocab_size, " tokens"));
}

}  // namespace deltaserve
