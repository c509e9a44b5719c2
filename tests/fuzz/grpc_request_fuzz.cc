// Fuzzes the messages of all gRPC calls. An accepted message must be servable, as with HTTP.
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>

#include "kernels/base/check.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"

namespace {

using namespace deltaserve;

constexpr int64_t kVocab = 1000;
constexpr int64_t kSlots = 8;

// Splits the bytes into several frames, in which long messages arrive.
grpc::ByteBuffer buffer_of(const uint8_t* data, size_t size) {
  const size_t half = size / 2;
  const grpc::Slice slices[] = {grpc::Slice(data, half), grpc::Slice(data + half, size - half)};
  return grpc::ByteBuffer(slices, 2);
}

void check_request(const GenerationRequest& request, const ServerLimits& limits) {
  const GenerateRequest& generate = request.parameters.generate;
  DS_CHECK(request.text_prompts.empty());  // the model has no tokenizer
  DS_CHECK(request.token_prompts.size() == 1 && !request.token_prompts[0].empty());
  for (const int32_t id : request.token_prompts[0]) DS_CHECK(id >= 0 && id < kVocab);
  DS_CHECK(request.parameters.n >= 1 && request.parameters.n <= limits.choices_per_prompt);
  DS_CHECK(generate.max_tokens >= 0 && generate.max_tokens <= limits.max_tokens);
  DS_CHECK(generate.min_tokens >= 0 && generate.min_tokens <= generate.max_tokens);
  DS_CHECK(generate.logprobs >= -1 && generate.logprobs <= limits.logprobs);
  DS_CHECK(generate.prompt_logprobs >= -1 && generate.prompt_logprobs <= limits.logprobs);
  DS_CHECK(generate.stop.size() <= static_cast<size_t>(limits.stop_strings));
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

void fuzz_generate(const uint8_t* data, size_t size, const ServerLimits& limits) {
  ServedModel model;
  model.name = "m";
  model.vocab_size = kVocab;
  model.slots = kSlots;
  grpc::ByteBuffer bytes = buffer_of(data, size);
  v1::GenerateRequest message;
  if (!read_generate_request(&bytes, limits, GrpcLimits(), &message).ok()) return;
  DS_CHECK(write_message(message, &bytes).ok());
  GenerationRequest request;
  if (const auto error = convert_request(&message, model, limits, &request)) {
    DS_CHECK(error->kind == ErrorKind::kInvalid || error->kind == ErrorKind::kModelNotFound);
    DS_CHECK(!error->message.empty());
  } else {
    check_request(request, limits);
  }
}

void fuzz_embed(const uint8_t* data, size_t size, const ServerLimits& limits) {
  ServedModel model;
  model.name = "m";
  model.vocab_size = kVocab;
  model.slots = kSlots;
  model.hidden_size = 64;
  grpc::ByteBuffer bytes = buffer_of(data, size);
  v1::EmbedRequest message;
  if (!read_embed_request(&bytes, limits, GrpcLimits(), &message).ok()) return;
  DS_CHECK(message.input_size() + message.input_token_ids_size() <= limits.embedding_inputs);
  GenerationRequest request;
  if (convert_request(&message, model, limits, &request)) return;
  DS_CHECK(request.text_prompts.empty() && !request.token_prompts.empty());
  for (const std::vector<int32_t>& ids : request.token_prompts) {
    DS_CHECK(!ids.empty());
    for (const int32_t id : ids) DS_CHECK(id >= 0 && id < kVocab);
  }
  DS_CHECK(request.parameters.n == 1 && request.parameters.generate.max_tokens == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ServerLimits limits;
  fuzz_generate(data, size, limits);
  fuzz_embed(data, size, limits);
  grpc::ByteBuffer bytes = buffer_of(data, size);
  v1::TokenizeRequest tokenize;
  (void)read_tokenize_request(&bytes, GrpcLimits(), &tokenize);
  bytes = buffer_of(data, size);
  v1::DetokenizeRequest detokenize;
  if (read_detokenize_request(&bytes, limits, GrpcLimits(), &detokenize).ok()) {
    DS_CHECK(detokenize.tokens_size() <= limits.prompt_tokens);
  }
  return 0;
}
