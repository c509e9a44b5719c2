// Server reflection tells tools such as grpcurl which services and messages exist. The library's
// own service for it requires no key, bounds no message and occupies a thread for each client.
#pragma once
#include "reflection.grpc.pb.h"
#include "reflection_v1.grpc.pb.h"
#include "server/grpc/grpc_context.h"

namespace deltaserve {

namespace reflection = grpc::reflection::v1alpha;

// Answers the requests of a client until its last one, and then deletes itself.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* new_reflection_call(
    GrpcContext& context, grpc::CallbackServerContext* rpc);

// The interface has the two names v1 and v1alpha, with the same messages. Thread-safe.
template <class Interface>
class ReflectionService final
    : public Interface::template WithRawCallbackMethod_ServerReflectionInfo<
          typename Interface::Service> {
 public:
  // `context` must outlive the calls.
  explicit ReflectionService(GrpcContext* context) : context_(*context) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServerReflectionInfo(
      grpc::CallbackServerContext* rpc) override {
    return new_reflection_call(context_, rpc);
  }

 private:
  GrpcContext& context_;
};

// Returns the answer to one request.
reflection::ServerReflectionResponse reflect(const reflection::ServerReflectionRequest& request);

}  // namespace deltaserve
