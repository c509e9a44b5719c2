// Server reflection tells tools such as grpcurl which services and messages exist.
#pragma once
#include "reflection.pb.h"

namespace deltaserve {

namespace reflection = grpc::reflection::v1alpha;

// Returns the answer to one request.
reflection::ServerReflectionResponse reflect(const reflection::ServerReflectionRequest& request);

}  // namespace deltaserve
