#include "server/http/reply.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "models/base/text.h"
#include "server/openai/response.h"

namespace deltaserve {
namespace {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
  }
}

std::string common_head(const RequestHead& head, int status, bool keep_alive) {
  const std::string date =
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone());
  return str_cat("HTTP/1.", head.http_minor, " ", status, " ", reason_phrase(status),
                 "\r\nDate: ", date, "\r\nx-request-id: ", head.request_id,
                 "\r\nConnection: ", keep_alive ? "keep-alive" : "close", "\r\n",
                 head.cors_headers);
}

}  // namespace

HttpReply error_reply(const ApiError& error) {
  HttpReply reply;
  reply.status = http_status(error.kind);
  reply.body = error_json(error);
  reply.problem = error.message;
  reply.param = error.param;
  if (reply.status == 429 || reply.status == 503) reply.headers = "Retry-After: 1\r\n";
  if (reply.status == 401) reply.headers = "WWW-Authenticate: Bearer\r\n";
  return reply;
}

HttpReply http_error(int status, std::string message) {
  HttpReply reply = error_reply(invalid_parameter("", std::move(message)));
  reply.status = status;
  return reply;
}

std::string reply_head(const RequestHead& head, const HttpReply& reply) {
  std::string out = common_head(head, reply.status, head.keep_alive);
  if (reply.status != 204) {
    out.append(str_cat("Content-Type: ", reply.content_type,
                       "\r\nContent-Length: ", reply.body.size(), "\r\n"));
  }
  return out.append(reply.headers).append("\r\n");
}

std::string stream_head(const RequestHead& head, bool keep_alive) {
  std::string out = common_head(head, 200, keep_alive);
  out.append("Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n");
  out.append("X-Accel-Buffering: no\r\n");  // without it nginx would buffer the events
  if (head.http_minor == 1) out.append("Transfer-Encoding: chunked\r\n");
  out.append("\r\n");
  return out;
}

}  // namespace deltaserve
