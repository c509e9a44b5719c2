#include "server/routes.h"

#include <algorithm>
#include <array>

#include "models/text.h"
#include "server/openai_response.h"
#include "server/page.h"
#include "server/server_context.h"

namespace deltaserve {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";

struct Path {
  std::string_view path;
  Route route;
};

constexpr std::array kPaths = {
    Path{"/v1/completions", Route::kCompletions},
    Path{"/v1/chat/completions", Route::kChatCompletions},
    Path{"/tokenize", Route::kTokenize},
    Path{"/detokenize", Route::kDetokenize},
    Path{"/v1/models", Route::kModels},
    Path{"/metrics", Route::kMetrics},
    Path{"/health", Route::kHealth},
    Path{"/ready", Route::kReady},
    Path{"/", Route::kPage},
};

std::string_view path_of(const RequestHead& head) {
  return std::string_view(head.target).substr(0, head.target.find('?'));
}

// nullptr: unknown.
const Path* find_path(std::string_view path) {
  static constexpr Path kModelPath{"/v1/models/{model}", Route::kModel};
  if (path.size() > kModelPrefix.size() && path.starts_with(kModelPrefix)) return &kModelPath;
  const auto found =
      std::find_if(kPaths.begin(), kPaths.end(), [&](const Path& p) { return p.path == path; });
  return found == kPaths.end() ? nullptr : &*found;
}

HttpReply ready_reply(const ServerContext& context) {
  const EngineStats stats = context.engine->stats();
  const bool draining = context.draining;
  HttpReply reply;
  reply.status = draining ? 503 : 200;
  reply.body =
      str_cat("{\"status\":\"", draining ? "draining" : "ready", "\",\"slots\":", stats.slots,
              ",\"running\":", stats.running, ",\"waiting\":", stats.waiting, "}");
  return reply;
}

HttpReply model_reply(const ServerContext& context, const RequestHead& head) {
  const std::string_view name = path_of(head).substr(kModelPrefix.size());
  if (name != context.model.name) {
    return error_reply({404, str_cat("The model ", quoted(name), " does not exist."),
                        "invalid_request_error", "model", "model_not_found"});
  }
  HttpReply reply;
  reply.body = model_json(context.model);
  return reply;
}

HttpReply metrics_reply(const ServerContext& context) {
  ServerState state;
  state.version = context.version;
  state.model_name = context.model.name;
  state.state_bytes = context.model.state_bytes;
  state.http_connections = context.connections;
  state.draining = context.draining;
  state.engine = context.engine->stats();
  if (context.model.grammars != nullptr) state.grammars = context.model.grammars->stats();
  HttpReply reply;
  reply.body = metrics_page(*context.metrics, state);
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

HttpReply page_reply() {
  HttpReply reply;
  reply.body = page_html();
  reply.content_type = "text/html; charset=utf-8";
  reply.headers = page_headers();
  return reply;
}

HttpReply method_reply(Route allowed) {
  HttpReply reply = error_reply(http_error(405, "this path does not take that method"));
  reply.headers = is_post(allowed) ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n";
  return reply;
}

}  // namespace

Route route_request(const RequestHead& head, bool preflights) {
  const Path* path = find_path(path_of(head));
  if (path == nullptr) return Route::kNotFound;
  if (preflights && head.method == "OPTIONS") return Route::kPreflight;
  const bool read_only = head.method == "GET" || head.method == "HEAD";
  const bool allowed = is_post(path->route) ? head.method == "POST" : read_only;
  return allowed ? path->route : Route::kMethodNotAllowed;
}

std::string_view route_name(const RequestHead& head) {
  const Path* path = find_path(path_of(head));
  return path != nullptr ? path->path : "other";
}

bool is_post(Route route) {
  return is_generating(route) || route == Route::kTokenize || route == Route::kDetokenize;
}

bool is_generating(Route route) {
  return route == Route::kCompletions || route == Route::kChatCompletions;
}

bool is_public(Route route) {
  return route == Route::kHealth || route == Route::kReady || route == Route::kPreflight ||
         route == Route::kPage;
}

HttpReply answer(const ServerContext& context, Route route, const RequestHead& head) {
  HttpReply reply;
  switch (route) {
    case Route::kCompletions:
    case Route::kChatCompletions:
    case Route::kTokenize:
    case Route::kDetokenize: return error_reply(unavailable_error("the server is shutting down"));
    case Route::kModels: reply.body = model_list_json(context.model); break;
    case Route::kModel: return model_reply(context, head);
    case Route::kMetrics: return metrics_reply(context);
    case Route::kHealth: reply.body = "{\"status\":\"ok\"}"; break;
    case Route::kReady: return ready_reply(context);
    case Route::kPage: return page_reply();
    case Route::kPreflight:
      reply.status = 204;
      reply.headers = context.cors.preflight_headers();
      break;
    case Route::kNotFound: return error_reply(http_error(404, "this server has no such path"));
    case Route::kMethodNotAllowed: return method_reply(find_path(path_of(head))->route);
  }
  return reply;
}

}  // namespace deltaserve
