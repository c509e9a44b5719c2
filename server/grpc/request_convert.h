// From messages of the gRPC interface to what the engine takes. The parameters go through the same
// reader as those of the HTTP interface: same ranges, same texts. Pure functions, safe on any input
// and from any thread.
#pragma once
#include <grpcpp/support/byte_buffer.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "deltaserve.pb.h"
#include "engine/request.h"
#include "server/api_error.h"
#include "server/grpc/limits.h"
#include "server/limits.h"
#include "server/openai_api.h"

namespace deltaserve {

struct EngineRequest {
  GenerateRequest generate;  // all but `id` and `deadline`
  int num_choices = 1;
};

// Parse the bytes, which are cleared. INVALID_ARGUMENT: malformed, too large, or unknown fields.
absl::Status read_generate_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                   const GrpcLimits& grpc_limits, v1::GenerateRequest* message);
absl::Status read_tokenize_request(grpc::ByteBuffer* bytes, const GrpcLimits& grpc_limits,
                                   v1::TokenizeRequest* message);
absl::Status read_detokenize_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                     const GrpcLimits& grpc_limits, v1::DetokenizeRequest* message);

// Every parameter that is set, by its name, as the body of an HTTP request has them; all but the
// prompt.
boost::json::object parameter_fields(const v1::GenerateRequest& message);

// Fills `request`; takes the prompt out of `message`.
[[nodiscard]] std::optional<ApiError> convert_request(v1::GenerateRequest* message,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits,
                                                      EngineRequest* request);

// An empty name means the model that is served.
[[nodiscard]] std::optional<ApiError> check_model_name(const std::string& name,
                                                       const ServedModel& model,
                                                       const ServerLimits& limits);

}  // namespace deltaserve
