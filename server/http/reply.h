// Requests and replies without I/O: heads as text, errors, ids.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/base/api_error.h"
#include "server/base/memory_budget.h"

namespace deltaserve {

struct RequestHead {
  std::string method = "GET";
  std::string target;
  std::string path;  // of the target, decoded; empty: the head was not understood
  int http_minor = 1;
  bool keep_alive = false;
  std::string request_id;
  int64_t timeout_ms = 0;    // x-request-timeout-ms; 0 = none
  std::string traceparent;   // of W3C's Trace Context, for the log; empty = none
  std::string cors_headers;  // for every reply to this request
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string_view content_type = "application/json";
  std::string headers;  // more lines, each with its line break
  // The log has these for a request that failed.
  std::string problem = {};
  std::string param = {};
  // Says that it is sent after ServerLimits::refusal_delay.
  bool held_back = false;
  // Covers the memory of a large body until the last copy of the reply is gone. It is null if the
  // body is small, or covered elsewhere.
  std::shared_ptr<MemoryBudget::Lease> lease = nullptr;
};

HttpReply error_reply(const ApiError& error);
// Returns an error of HTTP itself, such as an unknown path.
HttpReply http_error(int status, std::string message);

// Returns the status line and headers, with the empty line.
std::string reply_head(const RequestHead& head, const HttpReply& reply);
// Returns the same for a stream of events.
std::string stream_head(const RequestHead& head, bool keep_alive);

}  // namespace deltaserve
