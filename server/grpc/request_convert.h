// Converts messages of the gRPC interface to the requests that all fronts share. Pure functions,
// safe on any input and from any thread.
#pragma once
#include <grpcpp/support/byte_buffer.h>

#include <optional>

#include "absl/status/status.h"
#include "deltaserve.pb.h"
#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/grpc/limits.h"
#include "server/service/generation_request.h"
#include "server/service/tokens.h"

namespace deltaserve {

// These parse the bytes and clear them. They return INVALID_ARGUMENT if the bytes are malformed or
// too large, or have unknown fields.
absl::Status read_generate_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                   const GrpcLimits& grpc_limits, v1::GenerateRequest* message);
absl::Status read_chat_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                               const GrpcLimits& grpc_limits, v1::ChatRequest* message);
absl::Status read_embed_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                const GrpcLimits& grpc_limits, v1::EmbedRequest* message);
absl::Status read_tokenize_request(grpc::ByteBuffer* bytes, const GrpcLimits& grpc_limits,
                                   v1::TokenizeRequest* message);
absl::Status read_detokenize_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                     const GrpcLimits& grpc_limits, v1::DetokenizeRequest* message);

// Takes every parameter that is set; parameters that the message does not have stay absent. An
// error names the text of a schema that is not JSON. `message` is a GenerateRequest, a ChatRequest
// or an EmbedRequest, according to `interface`.
[[nodiscard]] std::optional<ApiError> read_parameters(const google::protobuf::Message& message,
                                                      Interface interface,
                                                      const ServerLimits& limits,
                                                      Parameters* parameters);

// Fill `request`, and move the prompt, which may be large, out of `message`.
[[nodiscard]] std::optional<ApiError> convert_request(v1::GenerateRequest* message,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits,
                                                      GenerationRequest* request);
[[nodiscard]] std::optional<ApiError> convert_request(v1::ChatRequest* message,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits,
                                                      GenerationRequest* request);
[[nodiscard]] std::optional<ApiError> convert_request(v1::EmbedRequest* message,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits,
                                                      GenerationRequest* request);
TokenizeRequest convert_request(v1::TokenizeRequest* message);
DetokenizeRequest convert_request(v1::DetokenizeRequest* message);

// Returns the name of the model that a message asks for; nullopt: the one that is served.
std::optional<std::string> model_name(const std::string& field);

}  // namespace deltaserve
