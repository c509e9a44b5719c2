#include "server/grpc/service.h"

#include <utility>
#include <variant>
#include <vector>

#include "server/grpc/call.h"
#include "server/grpc/embed_call.h"
#include "server/grpc/generate_call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "server/grpc/unary_call.h"

namespace deltaserve {
namespace {

grpc::Status tokenize_call(const GrpcContext& context, grpc::ByteBuffer* bytes,
                           grpc::ByteBuffer* reply) {
  v1::TokenizeRequest message;
  const absl::Status read = read_tokenize_request(bytes, context.limits, &message);
  if (!read.ok()) return to_grpc(read);
  auto made = tokenize(convert_request(&message), context.services.model, context.services.limits);
  if (const ApiError* error = std::get_if<ApiError>(&made)) return to_grpc(*error);
  std::vector<int32_t> ids = std::get<0>(std::move(made));
  v1::TokenizeResponse response;
  response.mutable_tokens()->Add(ids.begin(), ids.end());
  std::vector<int32_t>().swap(ids);
  response.set_count(response.tokens_size());
  return write_message(response, reply);
}

grpc::Status detokenize_call(const GrpcContext& context, grpc::ByteBuffer* bytes,
                             grpc::ByteBuffer* reply) {
  v1::DetokenizeRequest message;
  const absl::Status read =
      read_detokenize_request(bytes, context.services.limits, context.limits, &message);
  if (!read.ok()) return to_grpc(read);
  auto made =
      detokenize(convert_request(&message), context.services.model, context.services.limits);
  if (const ApiError* error = std::get_if<ApiError>(&made)) return to_grpc(*error);
  v1::DetokenizeResponse response;
  response.set_prompt(std::get<0>(std::move(made)));
  return write_message(response, reply);
}

grpc::Status get_model(const GrpcContext& context, grpc::ByteBuffer* bytes,
                       grpc::ByteBuffer* reply) {
  v1::GetModelRequest message;
  WireBounds bounds;
  bounds.max_parameter_bytes = context.limits.parameter_bytes;
  const absl::Status read = read_message(bytes, bounds, &message);
  if (!read.ok()) return to_grpc(read);
  const Services& services = context.services;
  const auto error = check_model_name(model_name(message.model()), services.model, services.limits);
  if (error) return to_grpc(*error);
  v1::Model response;
  fill_model(services.model, services.limits, services.engine.stats(), &response);
  return write_message(response, reply);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* DeltaServeService::Generate(
    grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request) {
  return start_generate_call(context_, rpc, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* DeltaServeService::Chat(
    grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request) {
  return start_chat_call(context_, rpc, request);
}

grpc::ServerUnaryReactor* DeltaServeService::Embed(grpc::CallbackServerContext* rpc,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* reply) {
  return start_embed_call(context_, rpc, request, reply);
}

grpc::ServerUnaryReactor* DeltaServeService::Tokenize(grpc::CallbackServerContext* rpc,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "Tokenize", rpc, request, reply, tokenize_call);
}

grpc::ServerUnaryReactor* DeltaServeService::Detokenize(grpc::CallbackServerContext* rpc,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "Detokenize", rpc, request, reply, detokenize_call);
}

grpc::ServerUnaryReactor* DeltaServeService::GetModel(grpc::CallbackServerContext* rpc,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return start_unary_call(context_, "GetModel", rpc, request, reply, get_model);
}

}  // namespace deltaserve
