// An error as it is reported to a client through any front. Each front translates the kind in one
// place: HTTP in openai/response.cc, gRPC in grpc/call.cc.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace deltaserve {

enum class ErrorKind : uint8_t {
  kInvalid,           // the request cannot be served as it is
  kUnauthenticated,   // it has no valid API key
  kTooManyWrongKeys,  // it has no valid API key, and neither had too many before it from the same
                      // address
  kModelNotFound,
  kQueueFull,    // too many requests wait: the client should try again later
  kOverloaded,   // requests or replies hold too much memory, or the workers lag: the client should
                 // try again later
  kUnavailable,  // the server is shutting down, or grammars hold too much memory
  kDeadline,
  kUnread,  // the client took nothing of its reply for long while others waited for its slot
  kInternal,
};

struct ApiError {
  ErrorKind kind = ErrorKind::kInvalid;
  std::string message;
  // `param` names the parameter at fault as its front spells it: the name of a top-level JSON
  // member, or the path of a protobuf field. It is empty if no parameter is at fault.
  std::string param = {};
};

inline ApiError invalid_parameter(std::string param, std::string message) {
  return {ErrorKind::kInvalid, std::move(message), std::move(param)};
}

inline ApiError unauthenticated_error() {
  return {ErrorKind::kUnauthenticated, "a valid API key is required: Authorization: Bearer KEY"};
}

inline ApiError too_many_wrong_keys_error() {
  return {ErrorKind::kTooManyWrongKeys,
          "too many requests without a valid API key: try again later"};
}

inline ApiError server_error(std::string message) {
  return {ErrorKind::kInternal, std::move(message)};
}

inline ApiError unavailable_error(std::string message) {
  return {ErrorKind::kUnavailable, std::move(message)};
}

inline ApiError shutting_down_error() {
  return unavailable_error("the server is shutting down");
}

inline ApiError overloaded_error() {
  return {ErrorKind::kOverloaded, "the server is reading too many large requests"};
}

inline ApiError out_of_memory_error() {
  return {ErrorKind::kOverloaded, "the server is short of memory: try again later"};
}

inline ApiError too_many_waiting_error() {
  return {ErrorKind::kOverloaded, "too many requests wait to be parsed"};
}

inline ApiError reply_too_large_error() {
  return {ErrorKind::kOverloaded, "unread replies hold too much memory to continue this one"};
}

inline ApiError too_many_grammars_error() {
  return {ErrorKind::kOverloaded, "too many schemas, expressions and grammars wait to be compiled"};
}

inline ApiError queue_full_error(std::string message) {
  return {ErrorKind::kQueueFull, std::move(message)};
}

inline ApiError unread_error() {
  return {ErrorKind::kUnread, "the reply was not read for a long time while other requests waited"};
}

inline ApiError deadline_error() {
  return {ErrorKind::kDeadline, "the request's deadline passed"};
}

// Translates a status of the engine, a template or a grammar. `param` is named as at fault if the
// status is INVALID_ARGUMENT, or RESOURCE_EXHAUSTED because of the request itself.
inline ApiError api_error_from(const absl::Status& status, std::string param) {
  std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: break;
    case absl::StatusCode::kResourceExhausted:
      if (param.empty()) return queue_full_error(std::move(message));
      break;
    case absl::StatusCode::kDeadlineExceeded: return deadline_error();
    // Only a client that still waits sees this error: the server cancels its work when it stops.
    case absl::StatusCode::kCancelled: return shutting_down_error();
    case absl::StatusCode::kUnavailable: return unavailable_error(std::move(message));
    default: return server_error(std::move(message));
  }
  return invalid_parameter(std::move(param), std::move(message));
}

}  // namespace deltaserve
