// Server reflection: which services and messages there are, for tools such as grpcurl. The library
// has a service for it, which asks for no key, bounds no message and holds a thread for each
// client.
#pragma once
#include "reflection.grpc.pb.h"
#include "server/grpc/grpc_context.h"

namespace deltaserve {

namespace reflection = grpc::reflection::v1alpha;

using RawReflectionService =
    reflection::ServerReflection::WithRawCallbackMethod_ServerReflectionInfo<
        reflection::ServerReflection::Service>;

// Thread-safe.
class ReflectionService final : public RawReflectionService {
 public:
  // `context` must outlive the calls.
  explicit ReflectionService(GrpcContext* context) : context_(*context) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServerReflectionInfo(
      grpc::CallbackServerContext* rpc) override;

 private:
  GrpcContext& context_;
};

// The answer to one request.
reflection::ServerReflectionResponse reflect(const reflection::ServerReflectionRequest& request);

}  // namespace deltaserve
