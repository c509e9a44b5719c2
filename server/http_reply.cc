#include "server/http_reply.h"

#include <algorithm>
#include <array>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/connection.h"
#include "server/openai_response.h"

namespace deltaserve {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";

struct Path {
  std::string_view path;
  Route route;
  std::string_view allow;
};

constexpr std::array kPaths = {
    Path{"/v1/completions", Route::kCompletions, "POST"},
    Path{"/v1/models", Route::kModels, "GET, HEAD"},
    Path{"/health", Route::kHealth, "GET, HEAD"},
    Path{"/health/ready", Route::kReady, "GET, HEAD"},
};

std::string_view path_of(const RequestHead& head) {
  return std::string_view(head.target).substr(0, head.target.find('?'));
}

// nullptr: unknown.
const Path* find_path(std::string_view path) {
  static constexpr Path kModelPath{kModelPrefix, Route::kModel, "GET, HEAD"};
  if (path.size() > kModelPrefix.size() && path.substr(0, kModelPrefix.size()) == kModelPrefix) {
    return &kModelPath;
  }
  const auto found =
      std::find_if(kPaths.begin(), kPaths.end(), [&](const Path& p) { return p.path == path; });
  return found == kPaths.end() ? nullptr : &*found;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
  }
}

std::string common_head(const RequestHead& head, int status, bool keep_alive) {
  const std::string date =
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone());
  std::string out = absl::StrCat("HTTP/1.", head.http_minor, " ", status, " ");
  out.append(reason_phrase(status));
  absl::StrAppend(&out, "\r\nDate: ", date, "\r\nx-request-id: ", head.request_id,
                  "\r\nConnection: ", keep_alive ? "keep-alive" : "close", "\r\n");
  return out;
}

HttpReply ready_reply(const ServerContext& context) {
  const EngineStats stats = context.engine->stats();
  HttpReply reply;
  reply.status = context.draining ? 503 : 200;
  reply.body = absl::StrCat("{\"status\":\"", context.draining ? "draining" : "ready",
                            "\",\"slots\":", stats.slots, ",\"running\":", stats.running,
                            ",\"waiting\":", stats.waiting, "}");
  return reply;
}

HttpReply model_reply(const ServerContext& context, const RequestHead& head) {
  const std::string_view name = path_of(head).substr(kModelPrefix.size());
  if (name != context.model.name) {
    return error_reply({404, absl::StrCat("The model `", std::string(name), "` does not exist."),
                        "invalid_request_error", "model", "model_not_found"});
  }
  HttpReply reply;
  reply.body = model_json(context.model);
  return reply;
}

}  // namespace

Route route_request(const RequestHead& head) {
  const Path* path = find_path(path_of(head));
  if (path == nullptr) return Route::kNotFound;
  const bool read_only = head.method == "GET" || head.method == "HEAD";
  const bool allowed = path->route == Route::kCompletions ? head.method == "POST" : read_only;
  return allowed ? path->route : Route::kMethodNotAllowed;
}

HttpReply answer(const ServerContext& context, Route route, const RequestHead& head) {
  HttpReply reply;
  switch (route) {
    case Route::kCompletions: return error_reply(unavailable_error("the server is shutting down"));
    case Route::kModels: reply.body = model_list_json(context.model); break;
    case Route::kModel: return model_reply(context, head);
    case Route::kHealth: reply.body = "{\"status\":\"ok\"}"; break;
    case Route::kReady: return ready_reply(context);
    case Route::kNotFound: return error_reply(http_error(404, "this server has no such path"));
    case Route::kMethodNotAllowed:
      reply = error_reply(http_error(405, "this path does not take that method"));
      reply.allow = find_path(path_of(head))->allow;
      break;
  }
  return reply;
}

ApiError http_error(int status, std::string message) {
  return {status, std::move(message), "invalid_request_error", "", ""};
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply;
  reply.status = error.status;
  reply.body = error_json(error);
  reply.retry_after = error.status == 429 || error.status == 503;
  return reply;
}

std::string reply_head(const RequestHead& head, const HttpReply& reply) {
  std::string out = common_head(head, reply.status, head.keep_alive);
  absl::StrAppend(&out, "Content-Type: application/json\r\nContent-Length: ", reply.body.size(),
                  "\r\n");
  if (!reply.allow.empty()) out.append("Allow: ").append(reply.allow).append("\r\n");
  if (reply.retry_after) out.append("Retry-After: 1\r\n");
  out.append("\r\n");
  return out;
}

std::string stream_head(const RequestHead& head, bool keep_alive) {
  std::string out = common_head(head, 200, keep_alive);
  out.append("Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n");
  out.append("X-Accel-Buffering: no\r\n");  // or nginx would collect the events
  if (head.http_minor == 1) out.append("Transfer-Encoding: chunked\r\n");
  out.append("\r\n");
  return out;
}

bool is_usable_request_id(std::string_view id, size_t max_bytes) {
  return !id.empty() && id.size() <= max_bytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string make_request_id() {
  thread_local std::random_device device;
  return absl::StrFormat("req-%08x%08x%08x%08x", device(), device(), device(), device());
}

}  // namespace deltaserve
