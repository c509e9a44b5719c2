#include "server/grpc/call.h"

#include <chrono>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "models/base/text.h"
#include "server/service/request_id.h"

namespace deltaserve {
namespace {

constexpr char kRequestId[] = "x-request-id";
constexpr size_t kStatusBytes = 1024;  // it is sent in a trailer, whose size clients limit

grpc::StatusCode code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid: return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorKind::kUnauthenticated: return grpc::StatusCode::UNAUTHENTICATED;
    case ErrorKind::kModelNotFound: return grpc::StatusCode::NOT_FOUND;
    case ErrorKind::kTooManyWrongKeys:
    case ErrorKind::kQueueFull:
    case ErrorKind::kOverloaded: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorKind::kUnavailable: return grpc::StatusCode::UNAVAILABLE;
    case ErrorKind::kDeadline: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case ErrorKind::kUnread: return grpc::StatusCode::ABORTED;
    case ErrorKind::kInternal: break;
  }
  return grpc::StatusCode::INTERNAL;
}

// "OK", "INVALID_ARGUMENT".
std::string_view code_name(grpc::StatusCode code) {
  static constexpr std::string_view kNames[] = {"OK",
                                                "CANCELLED",
                                                "UNKNOWN",
                                                "INVALID_ARGUMENT",
                                                "DEADLINE_EXCEEDED",
                                                "NOT_FOUND",
                                                "ALREADY_EXISTS",
                                                "PERMISSION_DENIED",
                                                "RESOURCE_EXHAUSTED",
                                                "FAILED_PRECONDITION",
                                                "ABORTED",
                                                "OUT_OF_RANGE",
                                                "UNIMPLEMENTED",
                                                "INTERNAL",
                                                "UNAVAILABLE",
                                                "DATA_LOSS",
                                                "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

std::string_view metadata_of(const grpc::CallbackServerContext& rpc, const char* name) {
  const auto& metadata = rpc.client_metadata();
  const auto found = metadata.find(name);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

}  // namespace

grpc::Status to_grpc(const ApiError& error) {
  std::string message = error.message;
  if (!error.param.empty() && message.find(error.param) == std::string::npos) {
    message = str_cat(error.param, ": ", message);
  }
  if (message.size() > kStatusBytes) message.resize(kStatusBytes);
  return {code_of(error.kind), message};
}

// The canonical codes have the same numbers in both.
grpc::Status to_grpc(const absl::Status& status) {
  std::string message(status.message());
  if (message.size() > kStatusBytes) message.resize(kStatusBytes);
  return {static_cast<grpc::StatusCode>(status.raw_code()), message};
}

std::chrono::steady_clock::time_point deadline_of(const grpc::CallbackServerContext& rpc) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kFar = std::chrono::hours(24 * 365);
  const auto left = rpc.deadline() - std::chrono::system_clock::now();
  if (left >= kFar) return Clock::time_point::max();
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(left);
}

grpc::Status cancelled_status(std::chrono::steady_clock::time_point deadline,
                              std::chrono::steady_clock::time_point now) {
  constexpr auto kClocksDiffer = std::chrono::milliseconds(50);
  if (deadline - kClocksDiffer > now) return {grpc::StatusCode::CANCELLED, "cancelled"};
  return {grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline has passed"};
}

CallRecord::CallRecord(GrpcContext& context, grpc::CallbackServerContext* rpc, const char* method)
    : context_(context), method_(method), request_id_(metadata_of(*rpc, kRequestId)) {
  ++context_.calls;
  if (!is_usable_request_id(request_id_, context_.services.limits.request_id_bytes)) {
    request_id_ = make_request_id();
  }
  const std::string_view trace = metadata_of(*rpc, "traceparent");
  if (is_traceparent(trace)) traceparent_ = std::string(trace);
  rpc->AddInitialMetadata(kRequestId, request_id_);
}

grpc::Status CallRecord::admit(const grpc::CallbackServerContext& rpc, bool generates) {
  Services& services = context_.services;
  const auto owner =
      services.owner_of(metadata_of(rpc, "authorization"), context_.peers.of(rpc.peer()));
  if (const ApiError* error = std::get_if<ApiError>(&owner)) {
    of_flood_ = error->kind == ErrorKind::kTooManyWrongKeys;
    return to_grpc(*error);
  }
  owner_ = std::get<PrefixOwner>(owner);
  if (auto error = services.admit(generates)) return to_grpc(*error);
  if (context_.calls > context_.limits.calls) {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED,
            str_cat("more than ", context_.limits.calls, " calls at once")};
  }
  return grpc::Status::OK;
}

void CallRecord::end(const grpc::Status& status, const LogFields& details) const {
  const std::string_view code = code_name(status.error_code());
  context_.services.metrics.grpc_responses.add({method_, code});
  // Probes repeat without end and would fill the log.
  const bool routine = status.ok() && std::string_view(method_) == "GetModel";
  const LogLevel level = routine ? LogLevel::kDebug : LogLevel::kInfo;
  if (!context_.services.log.enabled(level) || of_flood_) return;
  LogFields fields;
  fields.text("request_id", request_id_).text("method", method_).text("code", code);
  if (!traceparent_.empty()) fields.text("traceparent", traceparent_);
  if (!status.ok()) fields.text("error", status.error_message());
  fields.append(details);
  const std::chrono::duration<double> total = std::chrono::steady_clock::now() - arrival_;
  fields.seconds_as_ms("total_ms", total.count());
  context_.services.log.write(level, "call", fields);
}

void CallRecord::end(const grpc::Status& status, const LogFields& details, RequestSpan span) const {
  end(status, details);
  if (context_.services.spans == nullptr) return;
  if (span.name.empty()) span.name = str_cat("deltaserve.v1.DeltaServe/", method_);
  span.traceparent = traceparent_;
  span.start = arrival_;
  span.end = std::chrono::steady_clock::now();
  span.add("rpc.system", "grpc");
  span.add("rpc.service", "deltaserve.v1.DeltaServe");
  span.add("rpc.method", method_);
  span.add("rpc.grpc.status_code", int64_t{status.error_code()});
  if (!status.ok()) {
    span.add("error.type", std::string(code_name(status.error_code())));
    span.error = status.error_message();
  }
  context_.services.spans->offer(std::move(span));
}

grpc::Status post_work(GrpcContext& context, const PrefixOwner& owner, size_t bytes,
                       MemoryBudget::Lease* lease, Workers::Work work) {
  const ServerLimits& limits = context.services.limits;
  const bool any_size = context.services.overload.takes_large_bodies(Overload::kGrpcConnections);
  *lease = MemoryBudget::Lease(&context.services.budget, owner,
                               any_size ? UINT64_MAX : limits.huge_body_bytes);
  const bool large = bytes > limits.large_body_bytes;
  if (large && !lease->grow_to(bytes)) return to_grpc(overloaded_error());
  const bool posted = context.services.workers.post(owner, bytes, std::move(work));
  return posted ? grpc::Status::OK : to_grpc(too_many_waiting_error());
}

}  // namespace deltaserve
