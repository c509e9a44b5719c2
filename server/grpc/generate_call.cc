#include "server/grpc/generate_call.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deltaserve.pb.h"
#include "models/base/text.h"
#include "server/grpc/engine_call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"

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

// One message is being written at a time; the next is taken from the engine's bounded streams only
// then, so that a slow reader's sequences pause.
template <class Method>
class GenerationCall final : public EngineCall<Method, grpc::ServerWriteReactor<grpc::ByteBuffer>> {
  using Base = EngineCall<Method, grpc::ServerWriteReactor<grpc::ByteBuffer>>;
  using Base::active;
  using Base::context_;
  using Base::finished;
  using Base::generation_;

 public:
  GenerationCall(GrpcContext& context, grpc::CallbackServerContext* rpc,
                 const grpc::ByteBuffer* request)
      : Base(context, rpc, request), stall_(this->strand()) {}

  void OnWriteDone(bool ok) override {
    asio::post(this->strand(), [this, self = this->self(), ok] {
      writing_ = false;
      ok ? this->advance_or_fail() : finish(this->cancelled());
    });
  }

 private:
  // Writes the next message, if there is one and none is being written.
  void advance() override {
    if (!active() || writing_) return;
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
    if (!last) return this->StartWrite(&bytes_);
    end(grpc::Status::OK);
    this->StartWriteAndFinish(&bytes_, grpc::WriteOptions(), grpc::Status::OK);
  }

  // Starts the one timer for all writes of the call, which checks again when the current write may
  // be too late.
  void watch_reader() {
    write_began_ = Clock::now();
    if (!std::exchange(watching_, true)) watch_until(write_began_ + context_.limits.write_stall);
  }

  void watch_until(Clock::time_point when) {
    stall_.expires_at(when);
    stall_.async_wait([this, weak = this->weak_from_this()](const boost::system::error_code& ec) {
      const auto self = ec ? nullptr : weak.lock();
      if (self != nullptr) look_at_reader();
    });
  }

  void look_at_reader() {
    const Clock::time_point now = Clock::now();
    const Clock::time_point late = write_began_ + context_.limits.write_stall;
    watching_ = writing_;
    if (!writing_) return;
    if (now < late) return watch_until(late);
    if (finished()) return this->cut_off();
    finish({grpc::StatusCode::ABORTED, "the client did not read its stream for too long"});
    watch_until(now + context_.limits.stall_grace);
  }

  // The library sends the status after the message that is being written.
  void finish(const grpc::Status& status) override {
    if (finished()) return;
    end(status);
    this->Finish(status);
  }

  // The engine frees the slots within a step.
  void end(const grpc::Status& status) {
    this->report_end(status);
    generation_.reset();
  }

  // Used on the strand.
  asio::steady_timer stall_;
  Clock::time_point write_began_;
  std::optional<PendingPart> pending_;
  std::vector<char> begun_;             // the choices of which a part was sent
  typename Method::Response response_;  // of the last write
  grpc::ByteBuffer bytes_;
  bool writing_ = false;
  bool watching_ = false;
};

template <class Method>
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_call(GrpcContext& context,
                                                       grpc::CallbackServerContext* rpc,
                                                       const grpc::ByteBuffer* request) {
  const auto call = std::make_shared<GenerationCall<Method>>(context, rpc, request);
  call->start(*rpc);
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
