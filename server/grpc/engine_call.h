// EngineCall has what all calls share that wait for the engine, with one reply or a stream: the way
// of a request from its bytes to the streams, and the end of the call.
#pragma once
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "server/grpc/call.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/unary_call.h"
#include "server/service/generation.h"

namespace deltaserve {

// A Method has the type of a request, the function that reads it, and the text of its prompt for
// the log. A Reactor is the library's. Everything but prepare() and the library's reactions happens
// on the strand.
template <class Method, class Reactor>
class EngineCall : public Reactor,
                   public std::enable_shared_from_this<EngineCall<Method, Reactor>> {
 public:
  // Call it first. `rpc` is that of the constructor.
  void start(const grpc::CallbackServerContext& rpc) {
    self_ = this->shared_from_this();
    grpc::Status status = record_.admit(rpc, /*generates=*/true);
    if (status.ok()) {
      status = post_work(context_, record_.owner(), request_.Length(), &lease_,
                         [self = self_] { self->prepare(); });
    }
    if (!status.ok()) finish(status);  // nothing else has begun
  }

  void OnCancel() override {
    cancellation_.cancel();
    boost::asio::post(strand_, [self = self_] {
      if (self->prepared_) self->finish(self->cancelled());
    });
  }

  void OnDone() override {
    rpc_.done();
    const auto self = std::move(self_);
  }

 protected:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  EngineCall(GrpcContext& context, grpc::CallbackServerContext* rpc,
             const grpc::ByteBuffer* request)
      : context_(context),
        record_(context, rpc, Method::kName),
        rpc_(rpc),
        deadline_(deadline_of(*rpc)),
        request_(take_bytes(request)),
        strand_(boost::asio::make_strand(context.io)) {}

  grpc::Status cancelled() const { return cancelled_status(deadline_); }
  static grpc::Status out_of_memory() {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "not enough memory for this request"};
  }

  // Takes what the engine has made, and replies if that is possible.
  virtual void advance() = 0;
  // Drops a reply that was not sent, because memory ran out.
  virtual void drop_reply() {}
  // Ends the call, unless it has ended.
  virtual void finish(const grpc::Status& status) = 0;

  // Ends the call where memory runs out, so that nobody waits for a message that cannot come.
  void advance_or_fail() {
    try {
      advance();
    } catch (const std::exception&) {
      drop_reply();
      finish(out_of_memory());
    }
  }

  // Returns false where there is nothing to do for advance().
  bool active() const { return prepared_ && !finished_; }
  bool finished() const { return finished_; }

  // Reports the call, before the library's Finish(). Call it once.
  void report_end(const grpc::Status& status) {
    finished_ = true;
    LogFields details;
    RequestSpan span;
    if (generation_ != nullptr) {
      generation_->describe(&details);
      generation_->describe(&span);
    }
    record_.end(status, details, std::move(span));
  }

  void cut_off() { rpc_.cut_off(); }
  const Strand& strand() const { return strand_; }
  const std::shared_ptr<EngineCall>& self() const { return self_; }

  GrpcContext& context_;
  // Used by the worker until the call is prepared, then on the strand.
  std::unique_ptr<Generation> generation_;

 private:
  // Runs on a worker: takes the request from bytes to the engine's streams, or to the worker that
  // compiles its grammar first.
  void prepare() {
    const CancellationScope scope(&cancellation_);
    guarded([this] {
      const grpc::Status status = read();
      if (!status.ok()) return begin_later(status);
      if (!generation_->must_compile()) return begin_later(submit());
      const bool posted = context_.services.workers.post_compiling(
          record_.owner(),
          [self = this->shared_from_this()] { return !self->cancellation_.cancelled(); },
          [self = this->shared_from_this(),
           dropped = std::unique_ptr<EngineCall, EndIfCancelled>(this)]() mutable {
            static_cast<void>(dropped.release());
            self->guarded([&] { self->begin_later(self->submit()); });
          });
      if (!posted) begin_later(to_grpc(too_many_grammars_error()));
    });
  }

  // Workers drop the work of a client that has left, and nothing else would end the call then.
  struct EndIfCancelled {
    void operator()(EngineCall* call) const {
      if (call->cancellation_.cancelled()) call->begin_later(call->cancelled());
    }
  };

  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception&) {
      begin_later(out_of_memory());
    }
  }

  void begin_later(const grpc::Status& status) {
    boost::asio::post(strand_, [self = this->shared_from_this(), status] { self->begin(status); });
  }

  grpc::Status read() {
    grpc::ByteBuffer bytes;  // given back at the end of this function, however it ends
    bytes.Swap(&request_);
    if (cancellation_.cancelled()) return cancelled();
    Services& services = context_.services;
    typename Method::Request message;
    const absl::Status read = Method::read(&bytes, services.limits, context_.limits, &message);
    if (!read.ok()) return to_grpc(read);
    log_prompt(message);
    GenerationRequest request;
    auto error = convert_request(&message, services.model, services.limits, &request);
    if (error) return to_grpc(*error);
    generation_ =
        std::make_unique<Generation>(services, std::move(request),
                                     Arrival{record_.request_id(), record_.owner(),
                                             record_.arrival(), deadline_, std::move(lease_)});
    error = generation_->encode();
    return error ? to_grpc(*error) : grpc::Status::OK;
  }

  grpc::Status submit() {
    if (cancellation_.cancelled()) return cancelled();
    const auto error = generation_->submit([weak = this->weak_from_this()] {
      if (const auto self = weak.lock()) self->signal();
    });
    return error ? to_grpc(*error) : grpc::Status::OK;
  }

  void log_prompt(const typename Method::Request& message) const {
    if (!context_.services.log_prompts) return;
    context_.services.log.write(
        LogLevel::kInfo, "prompt",
        LogFields()
            .text("request_id", record_.request_id())
            .text("prompt", Method::prompt_of(message).substr(0, Logger::kValueBytes)));
  }

  // Runs on the engine thread. Signals between two rounds become one.
  void signal() {
    if (signalled_.exchange(true, std::memory_order_acq_rel)) return;
    boost::asio::post(strand_, [self = this->shared_from_this()] {
      self->signalled_.store(false, std::memory_order_release);
      self->advance_or_fail();
    });
  }

  void begin(const grpc::Status& status) {
    prepared_ = true;
    if (!status.ok()) return finish(status);
    if (cancellation_.cancelled()) return finish(cancelled());
    advance_or_fail();
  }

  CallRecord record_;
  MemoryBudget::Lease lease_;
  RpcHandle rpc_;
  const std::chrono::steady_clock::time_point deadline_;
  Cancellation cancellation_;  // set when the client cancels
  std::atomic<bool> signalled_{false};
  std::shared_ptr<EngineCall> self_;  // until OnDone
  grpc::ByteBuffer request_;          // until read()
  Strand strand_;

  // Used on the strand.
  bool prepared_ = false;
  bool finished_ = false;
};

}  // namespace deltaserve
