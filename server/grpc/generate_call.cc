#include "server/grpc/generate_call.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deltaserve.pb.h"
#include "models/base/text.h"
#include "server/grpc/call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "server/grpc/unary_call.h"
#include "server/service/generation.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

// A Method has the types of a stream's messages, and the function that reads a request.
struct GenerateMethod {
  using Request = v1::GenerateRequest;
  using Response = v1::GenerateResponse;
  static constexpr const char* kName = "Generate";

  static absl::Status read(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                           const GrpcLimits& grpc_limits, Request* message) {
    return read_generate_request(bytes, limits, grpc_limits, message);
  }
  // Returns the text of the prompt, for the log.
  static std::string prompt_of(const Request& message) { return message.prompt(); }
};

struct ChatMethod {
  using Request = v1::ChatRequest;
  using Response = v1::ChatResponse;
  static constexpr const char* kName = "Chat";

  static absl::Status read(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                           const GrpcLimits& grpc_limits, Request* message) {
    return read_chat_request(bytes, limits, grpc_limits, message);
  }
  static std::string prompt_of(const Request& message) {
    std::string text;
    for (const v1::ChatMessage& one : message.messages()) {
      text += str_cat(one.role(), ": ", one.content(), "\n");
      if (text.size() > Logger::kValueBytes) break;
    }
    return text;
  }
};

// Everything but prepare() and the library's reactions happens on the strand. One message is being
// written at a time; the next is taken from the engine's bounded streams only then, so that a slow
// reader's sequences pause.
template <class Method>
class GenerationCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public std::enable_shared_from_this<GenerationCall<Method>> {
 public:
  GenerationCall(GrpcContext& context, grpc::CallbackServerContext* rpc,
                 const grpc::ByteBuffer* request)
      : context_(context),
        record_(context, rpc, Method::kName),
        rpc_(rpc),
        deadline_(deadline_of(*rpc)),
        request_(take_bytes(request)),
        strand_(asio::make_strand(context.io)),
        stall_(strand_) {}

  grpc::Status admit(const grpc::CallbackServerContext& rpc) {
    return record_.admit(rpc, /*generates=*/true);
  }

  void start(grpc::Status status) {
    self_ = this->shared_from_this();
    if (status.ok()) {
      status = post_work(context_, record_.owner(), request_.Length(), &lease_,
                         [self = self_] { self->prepare(); });
    }
    if (!status.ok()) finish(status);  // nothing else has begun
  }

  void OnCancel() override {
    cancellation_.cancel();
    asio::post(strand_, [self = self_] {
      if (self->prepared_) self->finish(self->cancelled());
    });
  }

  void OnWriteDone(bool ok) override {
    asio::post(strand_, [self = self_, ok] {
      self->writing_ = false;
      ok ? self->write_or_fail() : self->finish(self->cancelled());
    });
  }

  void OnDone() override {
    rpc_.done();
    const auto self = std::move(self_);
  }

 private:
  grpc::Status cancelled() const { return cancelled_status(deadline_); }
  static grpc::Status out_of_memory() {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "not enough memory for this request"};
  }

  // Runs on a worker: takes the request from bytes to the engine's streams, or to the worker that
  // compiles its grammar first.
  void prepare() {
    const CancellationScope scope(&cancellation_);
    guarded([this] {
      const grpc::Status status = read();
      request_.Clear();
      if (!status.ok()) return begin_later(status);
      if (!generation_->must_compile()) return begin_later(submit());
      const bool posted = context_.services.workers.post_compiling(
          record_.owner(), [self = this->shared_from_this()] {
            self->guarded([&] { self->begin_later(self->submit()); });
          });
      if (!posted) begin_later(to_grpc(too_many_grammars_error()));
    });
  }

  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception&) {
      begin_later(out_of_memory());
    }
  }

  void begin_later(const grpc::Status& status) {
    asio::post(strand_, [self = this->shared_from_this(), status] { self->begin(status); });
  }

  grpc::Status read() {
    if (cancellation_.cancelled()) return cancelled();
    Services& services = context_.services;
    typename Method::Request message;
    const absl::Status read = Method::read(&request_, services.limits, context_.limits, &message);
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
    asio::post(strand_, [self = this->shared_from_this()] {
      self->signalled_.store(false, std::memory_order_release);
      self->write_or_fail();
    });
  }

  void begin(const grpc::Status& status) {
    prepared_ = true;
    if (!status.ok()) return finish(status);
    if (cancellation_.cancelled()) return finish(cancelled());
    write_or_fail();
  }

  // Ends the call where memory runs out, so that nobody waits for a message that cannot come.
  void write_or_fail() {
    try {
      write_next();
    } catch (const std::exception&) {
      finish(out_of_memory());
    }
  }

  // Writes the next message, if there is one and none is being written.
  void write_next() {
    if (!prepared_ || writing_ || finished_) return;
    if (!pending_) {
      std::optional<Generation::Part> part = generation_->next();
      if (generation_->error()) return finish(to_grpc(*generation_->error()));
      if (!part) return;
      begun_.resize(generation_->num_choices());
      pending_ = PendingPart{*std::move(part)};
      pending_->first = std::exchange(begun_[pending_->part.choice], 1) == 0;
    }
    const bool whole =
        next_response(context_.services.model, context_.limits.logprob_entries_per_message,
                      &*pending_, &response_);
    if (whole) pending_.reset();
    const bool last = whole && generation_->done();
    if (last) {
      fill_usage(generation_->usage(), response_.mutable_usage());
      fill_timings(generation_->timings(), response_.mutable_timings());
    }
    const grpc::Status status = write_message(response_, &bytes_);
    if (!status.ok()) return finish(status);
    const size_t rest = pending_ ? held_bytes(pending_->part.update) : 0;
    if (!generation_->hold_reply(bytes_.Length() + rest)) {
      return finish(to_grpc(*generation_->error()));
    }
    writing_ = true;
    watch_reader();
    if (!last) return StartWrite(&bytes_);
    end(grpc::Status::OK);
    StartWriteAndFinish(&bytes_, grpc::WriteOptions(), grpc::Status::OK);
  }

  // Starts the one timer for all writes of the call, which checks again when the current write may
  // be too late.
  void watch_reader() {
    write_began_ = Clock::now();
    if (!std::exchange(watching_, true)) watch_until(write_began_ + context_.limits.write_stall);
  }

  void watch_until(Clock::time_point when) {
    stall_.expires_at(when);
    stall_.async_wait([weak = this->weak_from_this()](const boost::system::error_code& ec) {
      const std::shared_ptr<GenerationCall> self = ec ? nullptr : weak.lock();
      if (self != nullptr) self->look_at_reader();
    });
  }

  void look_at_reader() {
    const Clock::time_point now = Clock::now();
    const Clock::time_point late = write_began_ + context_.limits.write_stall;
    watching_ = writing_;
    if (!writing_) return;
    if (now < late) return watch_until(late);
    if (finished_) return rpc_.cut_off();
    finish({grpc::StatusCode::ABORTED, "the client did not read its stream for too long"});
    watch_until(now + context_.limits.stall_grace);
  }

  // The library sends the status after the message that is being written.
  void finish(const grpc::Status& status) {
    if (finished_) return;
    end(status);
    Finish(status);
  }

  // The engine frees the slots within a step.
  void end(const grpc::Status& status) {
    finished_ = true;
    LogFields details;
    RequestSpan span;
    if (generation_ != nullptr) {
      generation_->describe(&details);
      generation_->describe(&span);
    }
    record_.end(status, details, std::move(span));
    generation_.reset();
  }

  GrpcContext& context_;
  CallRecord record_;
  MemoryBudget::Lease lease_;
  RpcHandle rpc_;
  const Clock::time_point deadline_;
  Cancellation cancellation_;  // set when the client cancels
  std::atomic<bool> signalled_{false};
  std::shared_ptr<GenerationCall> self_;  // until OnDone

  // Used by the worker until begin(), then on the strand.
  grpc::ByteBuffer request_;
  std::unique_ptr<Generation> generation_;

  // Used on the strand.
  asio::strand<asio::io_context::executor_type> strand_;
  asio::steady_timer stall_;
  Clock::time_point write_began_;
  std::optional<PendingPart> pending_;
  std::vector<char> begun_;             // the choices of which a part was sent
  typename Method::Response response_;  // of the last write
  grpc::ByteBuffer bytes_;
  bool prepared_ = false;
  bool writing_ = false;
  bool watching_ = false;
  bool finished_ = false;
};

template <class Method>
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_call(GrpcContext& context,
                                                       grpc::CallbackServerContext* rpc,
                                                       const grpc::ByteBuffer* request) {
  const auto call = std::make_shared<GenerationCall<Method>>(context, rpc, request);
  call->start(call->admit(*rpc));
  return call.get();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* start_generate_call(GrpcContext& context,
                                                                grpc::CallbackServerContext* rpc,
                                                                const grpc::ByteBuffer* request) {
  return start_call<GenerateMethod>(context, rpc, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* start_chat_call(GrpcContext& context,
                                                            grpc::CallbackServerContext* rpc,
                                                            const grpc::ByteBuffer* request) {
  return start_call<ChatMethod>(context, rpc, request);
}

}  // namespace deltaserve
