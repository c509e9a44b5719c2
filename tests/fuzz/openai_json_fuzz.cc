// Fuzzes the body of each POST. An accepted body must be servable: the engine relies on the
// invariants below.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/base/check.h"
#include "server/openai/chat_api.h"
#include "server/openai/completions_api.h"
#include "server/openai/messages_api.h"
#include "server/openai/response.h"
#include "server/openai/responses_api.h"
#include "server/openai/tokenize_api.h"

namespace {

constexpr int64_t kVocab = 1000;
constexpr int64_t kSlots = 8;

void check_request(const deltaserve::GenerationRequest& request,
                   const deltaserve::ServerLimits& limits) {
  DS_CHECK(request.text_prompts.empty());  // the model has no tokenizer
  DS_CHECK(!request.token_prompts.empty());
  for (const auto& ids : request.token_prompts) {
    DS_CHECK(!ids.empty());
    for (const int32_t id : ids) DS_CHECK(id >= 0 && id < kVocab);
  }
  DS_CHECK(request.parameters.n >= 1 && request.parameters.n <= limits.choices_per_prompt);
  const deltaserve::GenerateRequest& generate = request.parameters.generate;
  DS_CHECK(generate.max_tokens >= 0 && generate.max_tokens <= limits.max_tokens);
  DS_CHECK(generate.min_tokens >= 0 && generate.min_tokens <= generate.max_tokens);
  DS_CHECK(generate.logprobs >= -1 && generate.logprobs <= limits.logprobs);
  DS_CHECK(generate.sampling.temperature >= 0 && generate.sampling.temperature <= 2);
  DS_CHECK(generate.sampling.top_p > 0 && generate.sampling.top_p <= 1);
  DS_CHECK(generate.sampling.min_p >= 0 && generate.sampling.min_p <= 1);
  DS_CHECK(generate.sampling.top_k >= 0 && generate.sampling.top_k <= kVocab);
  DS_CHECK(generate.sampling.repetition_penalty > 0);
  int32_t last = -1;
  for (const auto& [token, bias] : generate.sampling.logit_bias) {
    DS_CHECK(token > last && token < kVocab && bias >= -100 && bias <= 100);
    last = token;
  }
}

void check_error(const deltaserve::ApiError& error) {
  const int status = deltaserve::http_status(error.kind);
  DS_CHECK(status == 400 || status == 404);
  DS_CHECK(!error.message.empty() && !deltaserve::error_json(error).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const deltaserve::ServerLimits limits;
  deltaserve::ServedModel model;
  model.name = "m";
  model.vocab_size = kVocab;
  model.slots = kSlots;
  deltaserve::GenerationRequest request;
  if (const auto error = parse_completion_request(text, model, limits, &request)) {
    check_error(*error);
  } else {
    check_request(request, limits);
  }
  // Without a tokenizer none of these is accepted in the end, but everything is parsed before.
  deltaserve::GenerationRequest chat;
  const auto chat_error = parse_chat_request(text, model, limits, &chat);
  DS_CHECK(chat_error.has_value());
  check_error(*chat_error);
  for (const auto read : {deltaserve::read_responses_request, deltaserve::read_messages_request}) {
    deltaserve::TurnRequest turn;
    const auto turn_error = read(text, model, limits, &turn);
    DS_CHECK(turn_error.has_value());
    check_error(*turn_error);
  }
  for (const auto& result : {tokenize(text, model, limits), detokenize(text, model, limits)}) {
    check_error(std::get<deltaserve::ApiError>(result));
  }
  return 0;
}
