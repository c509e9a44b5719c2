// An error as the OpenAI API reports it.
#pragma once
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace deltaserve {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // the name of a top-level parameter; empty = null
  std::string code;   // empty = null
};

inline ApiError invalid_parameter(std::string param, std::string message) {
  return {400, std::move(message), "invalid_request_error", std::move(param), ""};
}

inline ApiError server_error(std::string message) {
  return {500, std::move(message), "server_error", "", ""};
}

inline ApiError unavailable_error(std::string message) {
  return {503, std::move(message), "service_unavailable_error", "", ""};
}

inline ApiError queue_full_error(std::string message) {
  return {429, std::move(message), "rate_limit_error", "", "rate_limit_exceeded"};
}

inline ApiError deadline_error() {
  return {504, "the request's deadline passed", "timeout_error", "", "deadline_exceeded"};
}

// Of a status of the engine, a template or a grammar. `param`: for INVALID_ARGUMENT, and for
// RESOURCE_EXHAUSTED that is the request's own fault.
inline ApiError api_error_from(const absl::Status& status, std::string param) {
  std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: break;
    case absl::StatusCode::kResourceExhausted:
      if (param.empty()) return queue_full_error(std::move(message));
      break;
    case absl::StatusCode::kDeadlineExceeded: return deadline_error();
    case absl::StatusCode::kUnavailable: return unavailable_error(std::move(message));
    default: return server_error(std::move(message));
  }
  return invalid_parameter(std::move(param), std::move(message));
}

}  // namespace deltaserve
