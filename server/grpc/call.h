// Every call, whatever it does, has these: admission, its share of the memory, and a way to cut it
// off.
#pragma once
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "server/base/api_error.h"
#include "server/grpc/grpc_context.h"

namespace deltaserve {

// Converts an error. The message begins with the parameter's name, if the error has one.
grpc::Status to_grpc(const ApiError& error);
grpc::Status to_grpc(const absl::Status& status);

// Returns until when the client waits; max() if it does not say.
std::chrono::steady_clock::time_point deadline_of(const grpc::CallbackServerContext& rpc);

// A CallRecord tells the counters and the log of one call, from its arrival to its end.
class CallRecord {
 public:
  // `method` must outlive the record. Tells the client the call's id, its own or one of ours.
  CallRecord(GrpcContext& context, grpc::CallbackServerContext* rpc, const char* method);
  CallRecord(const CallRecord&) = delete;
  ~CallRecord() { --context_.calls; }

  // Call it first. If the status is not OK, the call must end with it. `generates`: the call goes
  // to the engine.
  grpc::Status admit(const grpc::CallbackServerContext& rpc, bool generates = false);

  // Call it once, before the library is told.
  void end(const grpc::Status& status, const LogFields& details = {}) const;
  // Does the same for a call that generates, whose span has what is said of its generation.
  void end(const grpc::Status& status, const LogFields& details, RequestSpan span) const;

  const std::string& request_id() const { return request_id_; }
  // Returns whose key the call has, once it was admitted.
  const PrefixOwner& owner() const { return owner_; }
  std::chrono::steady_clock::time_point arrival() const { return arrival_; }

 private:
  GrpcContext& context_;
  const char* const method_;
  const std::chrono::steady_clock::time_point arrival_ = std::chrono::steady_clock::now();
  std::string request_id_;
  std::string traceparent_;  // empty = none
  PrefixOwner owner_{};
  bool of_flood_ = false;  // of wrong keys: it costs as little as possible, and no line
};

// The library's context of a call, which goes away with OnDone. Thread-safe.
class RpcHandle {
 public:
  explicit RpcHandle(grpc::CallbackServerContext* rpc) : rpc_(rpc) {}

  // Ends the call as CANCELLED, whatever is under way. Does nothing after done().
  void cut_off() {
    const std::lock_guard lock(mutex_);
    if (rpc_ != nullptr) rpc_->TryCancel();  // reactions run on other threads, after this
  }
  // Call it once, in OnDone.
  void done() {
    const std::lock_guard lock(mutex_);
    rpc_ = nullptr;
  }

 private:
  std::mutex mutex_;
  grpc::CallbackServerContext* rpc_;
};

// Runs `work` on the worker for messages of `bytes`. `lease` covers what is held for the call, if
// that is large. Not OK: too much is held already, or waits for the worker.
grpc::Status post_work(GrpcContext& context, const PrefixOwner& owner, size_t bytes,
                       MemoryBudget::Lease* lease, Workers::Work work);

}  // namespace deltaserve
