// The parts that every call has: admission, its share of the memory, and a way to cut it off.
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

// Returns the client's deadline; max() if it has none.
std::chrono::steady_clock::time_point deadline_of(const grpc::CallbackServerContext& rpc);

// Returns the status of a call that the library cancels at `now`: DEADLINE_EXCEEDED if that is
// because its deadline passes, else CANCELLED. At its deadline the client cancels the call, too,
// which may be heard a little earlier than the deadline passes here.
grpc::Status cancelled_status(
    std::chrono::steady_clock::time_point deadline,
    std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

// A CallRecord reports one call to the counters and the log, from its arrival to its end.
class CallRecord {
 public:
  // `method` must outlive the record. Sends the client the id of the call: the client's own or a
  // new one.
  CallRecord(GrpcContext& context, grpc::CallbackServerContext* rpc, const char* method);
  CallRecord(const CallRecord&) = delete;
  ~CallRecord() { --context_.calls; }

  // Call it first. If the status is not OK, the call must end with it. `generates` says that the
  // call uses the engine.
  grpc::Status admit(const grpc::CallbackServerContext& rpc, bool generates = false);

  // Call it once, before the library's Finish().
  void end(const grpc::Status& status, const LogFields& details = {}) const;
  // Does the same for a call that generates, and sends its span.
  void end(const grpc::Status& status, const LogFields& details, RequestSpan span) const;

  const std::string& request_id() const { return request_id_; }
  // Returns the owner of the call's key, once the call was admitted.
  const PrefixOwner& owner() const { return owner_; }
  std::chrono::steady_clock::time_point arrival() const { return arrival_; }

 private:
  GrpcContext& context_;
  const char* const method_;
  const std::chrono::steady_clock::time_point arrival_ = std::chrono::steady_clock::now();
  std::string request_id_;
  std::string traceparent_;  // empty = none
  PrefixOwner owner_{};
  bool of_flood_ = false;  // one of too many calls with wrong keys, which get no line in the log
};

// The library's context of a call, which is destroyed with OnDone. Thread-safe.
class RpcHandle {
 public:
  explicit RpcHandle(grpc::CallbackServerContext* rpc) : rpc_(rpc) {}

  // Ends the call as CANCELLED at any point. Does nothing after done().
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

// Runs `work` on the worker for messages of `bytes`. `lease` covers the memory of the call, if it
// is large. An error means that too much memory is held already, or that too many calls wait for
// the worker.
grpc::Status post_work(GrpcContext& context, const PrefixOwner& owner, size_t bytes,
                       MemoryBudget::Lease* lease, Workers::Work work);

}  // namespace deltaserve
