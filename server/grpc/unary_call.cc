#include "server/grpc/unary_call.h"

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <memory>
#include <utility>

#include "server/grpc/call.h"

namespace deltaserve {
namespace {

class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  UnaryCall(GrpcContext& context, const char* method, grpc::CallbackServerContext* rpc,
            const grpc::ByteBuffer* request, grpc::ByteBuffer* reply)
      : context_(context),
        record_(context, rpc, method),
        rpc_(rpc),
        deadline_(deadline_of(*rpc)),
        request_(take_bytes(request)),
        reply_(reply),
        cut_off_(context.io) {}

  grpc::Status admit(const grpc::CallbackServerContext& rpc) { return record_.admit(rpc); }

  void start(grpc::Status status, UnaryWork work) {
    self_ = shared_from_this();
    if (status.ok()) {
      status = post_work(context_, record_.owner(), request_.Length(), &lease_,
                         [self = self_, work = std::move(work)] { self->run(work); });
    }
    if (!status.ok()) finish(status);
  }

  void OnCancel() override { cancellation_.cancel(); }

  void OnDone() override {
    rpc_.done();
    const auto self = std::move(self_);
  }

 private:
  void run(const UnaryWork& work) {
    grpc::Status status = cancelled_status(deadline_);
    if (!cancellation_.cancelled()) {
      const CancellationScope scope(&cancellation_);
      try {
        status = work(context_, &request_, reply_);
        if (status.ok()) status = hold_reply();
      } catch (const std::exception&) {
        status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "not enough memory for this call"};
      }
    }
    request_.Clear();
    cut_off_.expires_after(context_.limits.write_stall);
    cut_off_.async_wait([weak = weak_from_this()](const boost::system::error_code& ec) {
      const std::shared_ptr<UnaryCall> self = ec ? nullptr : weak.lock();
      if (self != nullptr) self->rpc_.cut_off();
    });
    finish(status);
  }

  // Makes the lease that covered the request cover the reply.
  grpc::Status hold_reply() {
    const size_t bytes = reply_->Length();
    const bool large = bytes > context_.services.limits.large_body_bytes;
    if (lease_.resize_to(large ? bytes : 0)) return grpc::Status::OK;
    reply_->Clear();
    return to_grpc(reply_too_large_error());
  }

  void finish(const grpc::Status& status) {
    record_.end(status);
    Finish(status);
  }

  GrpcContext& context_;
  CallRecord record_;
  MemoryBudget::Lease lease_;
  RpcHandle rpc_;
  const std::chrono::steady_clock::time_point deadline_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer* const reply_;      // the library's, until OnDone
  boost::asio::steady_timer cut_off_;  // ends the call of a client that does not read its reply
  Cancellation cancellation_;          // set when the client cancels
  std::shared_ptr<UnaryCall> self_;    // until OnDone
};

}  // namespace

grpc::ByteBuffer take_bytes(const grpc::ByteBuffer* request) {
  grpc::ByteBuffer bytes;
  bytes.Swap(const_cast<grpc::ByteBuffer*>(request));  // the object belongs to this call, and
                                                       // nothing else reads it
  return bytes;
}

grpc::ServerUnaryReactor* start_unary_call(GrpcContext& context, const char* method,
                                           grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request, grpc::ByteBuffer* reply,
                                           UnaryWork work) {
  const auto call = std::make_shared<UnaryCall>(context, method, rpc, request, reply);
  call->start(call->admit(*rpc), std::move(work));
  return call.get();
}

}  // namespace deltaserve
