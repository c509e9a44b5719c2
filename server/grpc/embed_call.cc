#include "server/grpc/embed_call.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "deltaserve.pb.h"
#include "models/base/text.h"
#include "server/grpc/call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "server/grpc/unary_call.h"
#include "server/service/embeddings.h"
#include "server/service/generation.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;

// Everything but prepare() and the library's reactions happens on the strand.
class EmbedCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<EmbedCall> {
 public:
  EmbedCall(GrpcContext& context, grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request,
            grpc::ByteBuffer* reply)
      : context_(context),
        record_(context, rpc, "Embed"),
        rpc_(rpc),
        deadline_(deadline_of(*rpc)),
        request_(take_bytes(request)),
        reply_(reply),
        strand_(asio::make_strand(context.io)),
        cut_off_(strand_) {}

  grpc::Status admit(const grpc::CallbackServerContext& rpc) {
    return record_.admit(rpc, /*generates=*/true);
  }

  void start(grpc::Status status) {
    self_ = shared_from_this();
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

  void OnDone() override {
    rpc_.done();
    const auto self = std::move(self_);
  }

 private:
  grpc::Status cancelled() const { return cancelled_status(deadline_); }
  static grpc::Status out_of_memory() {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "not enough memory for this request"};
  }

  // Runs on a worker: takes the request from bytes to the engine's streams.
  void prepare() {
    const CancellationScope scope(&cancellation_);
    grpc::Status status;
    try {
      status = submit();
    } catch (const std::exception&) {
      status = out_of_memory();
    }
    request_.Clear();
    asio::post(strand_, [self = shared_from_this(), status] { self->begin(status); });
  }

  grpc::Status submit() {
    if (cancellation_.cancelled()) return cancelled();
    Services& services = context_.services;
    v1::EmbedRequest message;
    const absl::Status read =
        read_embed_request(&request_, services.limits, context_.limits, &message);
    if (!read.ok()) return to_grpc(read);
    log_inputs(message);
    GenerationRequest request;
    auto error = convert_request(&message, services.model, services.limits, &request);
    if (error) return to_grpc(*error);
    generation_ =
        std::make_unique<Generation>(services, std::move(request),
                                     Arrival{record_.request_id(), record_.owner(),
                                             record_.arrival(), deadline_, std::move(lease_)});
    error = generation_->encode();
    if (error) return to_grpc(*error);
    if (cancellation_.cancelled()) return cancelled();
    error = generation_->submit([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->signal();
    });
    return error ? to_grpc(*error) : grpc::Status::OK;
  }

  void log_inputs(const v1::EmbedRequest& message) const {
    if (!context_.services.log_prompts) return;
    std::string text;
    for (const std::string& one : message.input()) {
      text += str_cat(text.empty() ? "" : "\n", one);
      if (text.size() > Logger::kValueBytes) break;
    }
    context_.services.log.write(LogLevel::kInfo, "prompt",
                                LogFields()
                                    .text("request_id", record_.request_id())
                                    .text("prompt", text.substr(0, Logger::kValueBytes)));
  }

  // Runs on the engine thread. Signals between two rounds become one.
  void signal() {
    if (signalled_.exchange(true, std::memory_order_acq_rel)) return;
    asio::post(strand_, [self = shared_from_this()] {
      self->signalled_.store(false, std::memory_order_release);
      self->take_or_fail();
    });
  }

  void begin(const grpc::Status& status) {
    prepared_ = true;
    if (!status.ok()) return finish(status);
    if (cancellation_.cancelled()) return finish(cancelled());
    take_or_fail();
  }

  // Ends the call where memory runs out, so that nobody waits for a reply that cannot come.
  void take_or_fail() {
    try {
      take();
    } catch (const std::exception&) {
      reply_->Clear();
      finish(out_of_memory());
    }
  }

  void take() {
    if (!prepared_ || finished_) return;
    if (!take_embeddings(generation_.get(), &embeddings_)) return;
    if (generation_->error()) return finish(to_grpc(*generation_->error()));
    v1::EmbedResponse response;
    fill_embeddings(embeddings_, &response);
    fill_usage(generation_->usage(), response.mutable_usage());
    const grpc::Status status = write_message(response, reply_);
    if (!status.ok()) return finish(status);
    if (!generation_->hold_reply(reply_->Length())) {
      reply_->Clear();
      return finish(to_grpc(*generation_->error()));
    }
    watch_reader();
    finish(grpc::Status::OK);
  }

  // A client that does not read its reply is cut off.
  void watch_reader() {
    cut_off_.expires_after(context_.limits.write_stall);
    cut_off_.async_wait([weak = weak_from_this()](const boost::system::error_code& ec) {
      const std::shared_ptr<EmbedCall> self = ec ? nullptr : weak.lock();
      if (self != nullptr) self->rpc_.cut_off();
    });
  }

  // The engine frees the slots within a step. The lease of the reply stays until OnDone.
  void finish(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    LogFields details;
    RequestSpan span;
    if (generation_ != nullptr) {
      generation_->describe(&details);
      generation_->describe(&span);
    }
    record_.end(status, details, std::move(span));
    if (!status.ok()) generation_.reset();
    std::vector<std::vector<float>>().swap(embeddings_);
    Finish(status);
  }

  GrpcContext& context_;
  CallRecord record_;
  MemoryBudget::Lease lease_;
  RpcHandle rpc_;
  const std::chrono::steady_clock::time_point deadline_;
  Cancellation cancellation_;  // set when the client cancels
  std::atomic<bool> signalled_{false};
  std::shared_ptr<EmbedCall> self_;  // until OnDone

  // Used by the worker until begin(), then on the strand.
  grpc::ByteBuffer request_;
  std::unique_ptr<Generation> generation_;

  // Used on the strand.
  grpc::ByteBuffer* const reply_;  // the library's, until OnDone
  asio::strand<asio::io_context::executor_type> strand_;
  asio::steady_timer cut_off_;
  std::vector<std::vector<float>> embeddings_;  // [inputs][hidden size], of the inputs that are
                                                // done
  bool prepared_ = false;
  bool finished_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* start_embed_call(GrpcContext& context, grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* reply) {
  const auto call = std::make_shared<EmbedCall>(context, rpc, request, reply);
  call->start(call->admit(*rpc));
  return call.get();
}

}  // namespace deltaserve
