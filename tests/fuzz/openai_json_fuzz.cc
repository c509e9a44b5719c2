// Any bytes as the body of POST /v1/completions. What is accepted must be servable: the invariants
// below are what the engine relies on.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/base/check.h"
#include "server/openai_api.h"
#include "server/openai_response.h"

namespace {

constexpr int64_t kVocab = 1000;

void check_request(const deltaserve::CompletionRequest& request,
                   const deltaserve::ServerLimits& limits) {
  DS_CHECK(request.text_prompts.empty());  // the model has no tokenizer
  DS_CHECK(!request.token_prompts.empty());
  for (const auto& ids : request.token_prompts) {
    DS_CHECK(!ids.empty());
    for (const int32_t id : ids) DS_CHECK(id >= 0 && id < kVocab);
  }
  const deltaserve::GenerateRequest& generate = request.generate;
  DS_CHECK(generate.max_tokens >= 0 && generate.max_tokens <= limits.max_tokens);
  DS_CHECK(generate.logprobs >= -1 && generate.logprobs <= limits.logprobs);
  DS_CHECK(generate.sampling.temperature >= 0 && generate.sampling.temperature <= 2);
  DS_CHECK(generate.sampling.top_p > 0 && generate.sampling.top_p <= 1);
  DS_CHECK(generate.sampling.min_p >= 0 && generate.sampling.min_p <= 1);
  DS_CHECK(generate.sampling.top_k >= 0 && generate.sampling.top_k <= kVocab);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const deltaserve::ServerLimits limits;
  deltaserve::ServedModel model;
  model.name = "m";
  model.vocab_size = kVocab;
  deltaserve::CompletionRequest request;
  const auto error = deltaserve::parse_completion_request(text, model, limits, &request);
  if (error) {
    DS_CHECK(error->status == 400 || error->status == 404);
    DS_CHECK(!deltaserve::error_json(*error).empty());
  } else {
    check_request(request, limits);
  }
  return 0;
}
