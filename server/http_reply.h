// Requests that are answered from memory, and the text of reply heads. No I/O.
#pragma once
#include <string>
#include <string_view>

#include "server/api_error.h"

namespace deltaserve {

struct ServerContext;

struct RequestHead {
  std::string method = "GET";
  std::string target;
  int http_minor = 1;
  bool keep_alive = false;
  std::string request_id;
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string_view allow;    // for 405
  bool retry_after = false;  // one second
};

enum class Route { kCompletions, kModels, kModel, kHealth, kReady, kNotFound, kMethodNotAllowed };

// The target's query is ignored.
Route route_request(const RequestHead& head);

// The reply to any route but kCompletions; for that one, that the server is shutting down.
HttpReply answer(const ServerContext& context, Route route, const RequestHead& head);

HttpReply error_reply(const ApiError& error);
ApiError http_error(int status, std::string message);

// Status line and headers, with the empty line.
std::string reply_head(const RequestHead& head, const HttpReply& reply);
// The same for a stream of events.
std::string stream_head(const RequestHead& head, bool keep_alive);

// Short and printable, so that it may be sent back and logged.
bool is_usable_request_id(std::string_view id, size_t max_bytes);
std::string make_request_id();

}  // namespace deltaserve
