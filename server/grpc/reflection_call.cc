#include "server/grpc/reflection_call.h"

#include "server/grpc/call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/reflection.h"

namespace deltaserve {
namespace {

// The call of one client; the next request is read after the answer to the last one is written.
class ReflectionCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ReflectionCall(GrpcContext& context, grpc::CallbackServerContext* rpc)
      : context_(context), record_(context, rpc, "ServerReflectionInfo") {
    const grpc::Status admitted = record_.admit(*rpc);
    admitted.ok() ? StartRead(&request_) : finish(admitted);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return finish(grpc::Status::OK);
    WireBounds bounds;
    bounds.max_parameter_bytes = context_.limits.reflection_bytes;
    reflection::ServerReflectionRequest message;
    const absl::Status read = read_message(&request_, bounds, &message);
    if (!read.ok()) return finish(to_grpc(read));
    const grpc::Status written = write_message(reflect(message), &reply_);
    written.ok() ? StartWrite(&reply_) : finish(written);
  }

  void OnWriteDone(bool ok) override {
    ok ? StartRead(&request_) : finish({grpc::StatusCode::CANCELLED, "cancelled"});
  }

  void OnDone() override { delete this; }

 private:
  void finish(const grpc::Status& status) {
    record_.end(status);
    Finish(status);
  }

  GrpcContext& context_;
  CallRecord record_;
  grpc::ByteBuffer request_, reply_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* new_reflection_call(
    GrpcContext& context, grpc::CallbackServerContext* rpc) {
  return new ReflectionCall(context, rpc);
}

}  // namespace deltaserve
