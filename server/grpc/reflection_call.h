// The calls of server reflection (reflection.h). The library's own service for it requires no key,
// bounds no message and occupies a thread for each client.
#pragma once
#include "reflection.grpc.pb.h"
#include "reflection_v1.grpc.pb.h"
#include "server/grpc/grpc_context.h"

namespace deltaserve {

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

}  // namespace deltaserve
