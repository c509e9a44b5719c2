// The streams of one request, turned into messages one at a time.
#pragma once
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "deltaserve.pb.h"
#include "server/grpc/grpc_context.h"
#include "server/grpc/response_convert.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class Generation {
 public:
  enum class Next {
    kNothing,  // now; the streams will notify
    kMessage,
    kLastMessage,
    kFailed,  // status() says why
  };

  // `streams`: one a choice. `arrival`: when the request came.
  Generation(const GrpcContext& context, std::vector<std::shared_ptr<TokenStream>> streams,
             std::chrono::steady_clock::time_point arrival);
  // Cancels what still runs.
  ~Generation();
  Generation(const Generation&) = delete;

  // What a request says of itself, for the usage and the log.
  void describe(int64_t prompt_tokens, std::string user);

  // Takes from the choices in turn. Fills `response` with what one of them has.
  Next next(v1::GenerateResponse* response);
  const grpc::Status& status() const { return status_; }

  LogFields details() const;

 private:
  struct Choice {
    std::shared_ptr<TokenStream> stream;
    RequestMetrics metrics;
    std::optional<PendingUpdate> pending = {};
    int64_t generated_tokens = 0;
    double queue_seconds = 0;
    bool ended = false;
  };

  bool take(Choice* choice);
  void fill_usage(v1::Usage* usage) const;
  int64_t generated_tokens() const;

  const GrpcContext& context_;
  std::vector<Choice> choices_;
  size_t running_;          // choices that have not ended
  size_t next_choice_ = 0;  // whose turn it is
  int64_t prompt_tokens_ = 0;
  std::string user_;
  grpc::Status status_;
};

}  // namespace deltaserve
