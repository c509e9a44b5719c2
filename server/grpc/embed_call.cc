#include "server/grpc/embed_call.h"

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "deltaserve.pb.h"
#include "models/base/text.h"
#include "server/grpc/engine_call.h"
#include "server/grpc/message_io.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "server/service/embeddings.h"

namespace deltaserve {
namespace {

struct EmbedMethod {
  using Request = v1::EmbedRequest;
  static constexpr const char* kName = "Embed";

  static absl::Status read(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                           const GrpcLimits& grpc_limits, Request* message) {
    return read_embed_request(bytes, limits, grpc_limits, message);
  }
  static std::string prompt_of(const Request& message) {
    std::string text;
    for (const std::string& one : message.input()) {
      text += str_cat(text.empty() ? "" : "\n", one);
      if (text.size() > Logger::kValueBytes) break;
    }
    return text;
  }
};

class EmbedCall final : public EngineCall<EmbedMethod, grpc::ServerUnaryReactor> {
 public:
  EmbedCall(GrpcContext& context, grpc::CallbackServerContext* rpc, const grpc::ByteBuffer* request,
            grpc::ByteBuffer* reply)
      : EngineCall(context, rpc, request), reply_(reply), cut_off_(strand()) {}

 private:
  void advance() override {
    if (!active()) return;
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

  void drop_reply() override { reply_->Clear(); }

  // A client that does not read its reply is cut off.
  void watch_reader() {
    cut_off_.expires_after(context_.limits.write_stall);
    cut_off_.async_wait([this, weak = weak_from_this()](const boost::system::error_code& ec) {
      const auto self = ec ? nullptr : weak.lock();
      if (self != nullptr) cut_off();
    });
  }

  // The engine frees the slots within a step. The lease of the reply stays until OnDone.
  void finish(const grpc::Status& status) override {
    if (finished()) return;
    report_end(status);
    if (!status.ok()) generation_.reset();
    std::vector<std::vector<float>>().swap(embeddings_);
    Finish(status);
  }

  grpc::ByteBuffer* const reply_;  // the library's, until OnDone
  boost::asio::steady_timer cut_off_;
  std::vector<std::vector<float>> embeddings_;  // [inputs][hidden size], of the inputs that are
                                                // done
};

}  // namespace

grpc::ServerUnaryReactor* start_embed_call(GrpcContext& context, grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* reply) {
  const auto call = std::make_shared<EmbedCall>(context, rpc, request, reply);
  call->start(*rpc);
  return call.get();
}

}  // namespace deltaserve
