#include "server/grpc/service.h"

#include <optional>
#include <string>
#include <vector>

#include "server/grpc/call.h"
#include "server/grpc/generate_call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "server/grpc/unary_call.h"

namespace deltaserve {
namespace {

grpc::Status tokenize(GrpcContext& context, grpc::ByteBuffer* bytes, grpc::ByteBuffer* reply) {
  v1::TokenizeRequest message;
  const absl::Status read = read_tokenize_request(bytes, context.limits, &message);
  if (!read.ok()) return to_grpc(read);
  const ServedModel& model = context.model;
  if (const auto error = check_model_name(message.model(), model, context.request_limits))
    return to_grpc(*error);
  if (model.tokenizer == nullptr) {
    return to_grpc(invalid_parameter("prompt", "the model has no tokenizer"));
  }
  const bool add_bos = !message.has_add_special_tokens() || message.add_special_tokens();
  std::vector<int32_t> ids = model.tokenizer->encode(message.prompt());
  message.clear_prompt();
  v1::TokenizeResponse response;
  if (add_bos && model.bos_to_prepend >= 0) response.add_tokens(model.bos_to_prepend);
  response.mutable_tokens()->Add(ids.begin(), ids.end());
  std::vector<int32_t>().swap(ids);
  response.set_count(response.tokens_size());
  return write_message(response, reply);
}

grpc::Status detokenize(GrpcContext& context, grpc::ByteBuffer* bytes, grpc::ByteBuffer* reply) {
  v1::DetokenizeRequest message;
  const absl::Status read =
      read_detokenize_request(bytes, context.request_limits, context.limits, &message);
  if (!read.ok()) return to_grpc(read);
  const ServedModel& model = context.model;
  if (const auto error = check_model_name(message.model(), model, context.request_limits))
    return to_grpc(*error);
  if (model.tokenizer == nullptr) {
    return to_grpc(invalid_parameter("tokens", "the model has no tokenizer"));
  }
  const std::vector<int32_t> ids(message.tokens().begin(), message.tokens().end());
  if (const auto error = check_token_ids("tokens", ids, model)) return to_grpc(*error);
  message.clear_tokens();
  v1::DetokenizeResponse response;
  response.set_prompt(model.tokenizer->decode(ids));
  return write_message(response, reply);
}

grpc::Status get_model(GrpcContext& context, grpc::ByteBuffer* bytes, grpc::ByteBuffer* reply) {
  v1::GetModelRequest message;
  WireBounds bounds;
  bounds.max_parameter_bytes = context.limits.parameter_bytes;
  const absl::Status read = read_message(bytes, bounds, &message);
  if (!read.ok()) return to_grpc(read);
  if (const auto error = check_model_name(message.model(), context.model, context.request_limits))
    return to_grpc(*error);
  v1::Model response;
  fill_model(context.model, context.request_limits, context.engine->stats(), &response);
  return write_message(response, reply);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* DeltaServeService::Generate(
    grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request) {
  return start_generate_call(context_, rpc, request);
}

grpc::ServerUnaryReactor* DeltaServeService::Tokenize(grpc::CallbackServerContext* rpc,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "Tokenize", rpc, request, reply, tokenize);
}

grpc::ServerUnaryReactor* DeltaServeService::Detokenize(grpc::CallbackServerContext* rpc,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "Detokenize", rpc, request, reply, detokenize);
}

grpc::ServerUnaryReactor* DeltaServeService::GetModel(grpc::CallbackServerContext* rpc,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "GetModel", rpc, request, reply, get_model);
}

}  // namespace deltaserve
