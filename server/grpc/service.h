// The methods of deltaserve.v1.DeltaServe. They take and give bytes: messages are parsed on our own
// workers, after their size was judged.
#pragma once
#include "deltaserve.grpc.pb.h"
#include "server/grpc/grpc_context.h"

namespace deltaserve {

using RawUnaryService = v1::DeltaServe::WithRawCallbackMethod_Tokenize<
    v1::DeltaServe::WithRawCallbackMethod_Detokenize<v1::DeltaServe::WithRawCallbackMethod_GetModel<
        v1::DeltaServe::WithRawCallbackMethod_Embed<v1::DeltaServe::Service>>>>;
using RawService = v1::DeltaServe::WithRawCallbackMethod_Generate<
    v1::DeltaServe::WithRawCallbackMethod_Chat<RawUnaryService>>;

// Thread-safe.
class DeltaServeService final : public RawService {
 public:
  // `context` must outlive the calls.
  explicit DeltaServeService(GrpcContext* context) : context_(*context) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* rpc,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Chat(grpc::CallbackServerContext* rpc,
                                                   const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* rpc,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* rpc,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* rpc,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override;

 private:
  GrpcContext& context_;
};

}  // namespace deltaserve
