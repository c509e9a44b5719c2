#include "server/http/routes.h"

#include <string>
#include <vector>

#include "models/base/text.h"
#include "server/base/suggestion.h"
#include "server/http/server_context.h"
#include "server/openai/openapi.h"
#include "server/openai/response.h"
#include "server/service/rules.h"

namespace deltaserve {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kWholeServer = "*";  // of OPTIONS

HttpReply models_reply(const ServerContext& context, const RequestHead&) {
  HttpReply reply;
  reply.body = model_list_json(context.services.model);
  return reply;
}

HttpReply health_reply(const ServerContext&, const RequestHead&) {
  HttpReply reply;
  reply.body = "{\"status\":\"ok\"}";
  return reply;
}

HttpReply ready_reply(const ServerContext& context, const RequestHead&) {
  const EngineStats stats = context.services.engine.stats();
  const bool draining = context.services.draining();
  const std::vector<std::string> deaf = context.services.ports.deaf();
  HttpReply reply;
  reply.status = draining || !deaf.empty() ? 503 : 200;
  const std::string_view status = draining ? "draining" : deaf.empty() ? "ready" : "not_ready";
  reply.body = str_cat("{\"status\":\"", status, "\",\"slots\":", stats.slots,
                       ",\"running\":", stats.running, ",\"waiting\":", stats.waiting);
  // The port of this request may be one of them, if the probe's connection is older.
  if (!deaf.empty()) {
    reply.body.append(str_cat(",\"deaf_ports\":[\"", absl::StrJoin(deaf, "\",\""), "\"]"));
  }
  reply.body.push_back('}');
  return reply;
}

HttpReply model_reply(const ServerContext& context, const RequestHead& head) {
  const std::string_view name = std::string_view(head.path).substr(kModelPrefix.size());
  if (name != context.services.model.name) {
    return error_reply(model_not_found(name, context.services.model));
  }
  HttpReply reply;
  reply.body = model_json(context.services.model);
  return reply;
}

HttpReply metrics_reply(const ServerContext& context, const RequestHead&) {
  const Services& services = context.services;
  ServerState state;
  state.version = services.version;
  state.model_name = services.model.name;
  state.state_bytes = services.model.state_bytes;
  state.http_connections = context.connections.size();
  state.log_lines_lost = services.log.lost_lines();
  state.process = process_stats();
  state.memory_limit_bytes = services.memory_limit;
  if (context.tls != nullptr) {
    state.certificate_expiry =
        absl::ToDoubleSeconds(certificate_expiry(*context.tls->get()) - absl::UnixEpoch());
  }
  state.draining = services.draining();
  state.engine = services.engine.stats();
  if (services.model.grammars != nullptr) state.grammars = services.model.grammars->stats();
  HttpReply reply;
  reply.body = metrics_page(services.metrics, state);
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

HttpReply page_reply(const ServerContext&, const RequestHead& head) {
  const PageFile& file = *find_page_file(head.path);
  HttpReply reply;
  reply.body = file.bytes;
  reply.content_type = file.content_type;
  reply.headers = page_headers();
  return reply;
}

HttpReply version_reply(const ServerContext& context, const RequestHead&) {
  HttpReply reply;
  reply.body = "{\"version\":";
  append_json_string(&reply.body, context.services.version);
  reply.body.push_back('}');
  return reply;
}

HttpReply openapi_reply(const ServerContext& context, const RequestHead&) {
  const Services& services = context.services;
  HttpReply reply;
  reply.body =
      openapi_json(services.model, services.limits,
                   {.version = services.version, .needs_key = !services.keys.get()->empty()});
  return reply;
}

HttpReply tokenizer_reply(const ServerContext& context, const RequestHead&) {
  const std::string& info = context.services.model.tokenizer_info;
  if (info.empty()) return http_error(404, "the model has no tokenizer");
  HttpReply reply;
  reply.body = info;
  return reply;
}

constexpr GetEndpoint kGetEndpoints[] = {
    {.path = "/v1/models", .reply = models_reply},
    {.path = "/version", .reply = version_reply},
    {.path = "/tokenizer_info", .reply = tokenizer_reply},
    {.path = "/openapi.json", .reply = openapi_reply},
    {.path = "/metrics", .reply = metrics_reply},
    {.path = "/health", .reply = health_reply, .is_public = true},
    {.path = "/ready", .reply = ready_reply, .is_public = true},
};
constexpr GetEndpoint kModelEndpoint = {.path = "/v1/models/{model}", .reply = model_reply};
constexpr GetEndpoint kPageEndpoint = {
    .path = "/page/{file}", .reply = page_reply, .is_public = true};  // the page asks the user for
                                                                      // a key

struct Path {
  std::string_view path;
  Route route;
};

// Returns nullopt for an unknown path.
std::optional<Path> find_path(std::string_view path) {
  const auto get = [](const GetEndpoint& endpoint) {
    return Path{endpoint.path, {.kind = Route::Kind::kGet, .get = &endpoint}};
  };
  if (path.size() > kModelPrefix.size() && path.starts_with(kModelPrefix)) {
    return get(kModelEndpoint);
  }
  for (const PostEndpoint& endpoint : post_endpoints()) {
    if (endpoint.path != path) continue;
    return Path{endpoint.path, {.kind = Route::Kind::kPost, .endpoint = &endpoint}};
  }
  for (const GetEndpoint& endpoint : kGetEndpoints) {
    if (endpoint.path == path) return get(endpoint);
  }
  if (const PageFile* file = find_page_file(path)) {
    return Path{file->path, {.kind = Route::Kind::kGet, .get = &kPageEndpoint}};
  }
  return std::nullopt;
}

std::string_view allow_header(const RequestHead& head) {
  const std::optional<Path> path = find_path(head.path);
  if (!path) return "Allow: GET, HEAD, POST, OPTIONS\r\n";
  return path->route.is_post() ? "Allow: POST, OPTIONS\r\n" : "Allow: GET, HEAD, OPTIONS\r\n";
}

// Returns the reply for a path that is nowhere. A path without /v1, or with it twice, is near one
// that has it once.
HttpReply path_reply(const RequestHead& head) {
  std::vector<std::string> paths;
  for (const PostEndpoint& endpoint : post_endpoints()) paths.emplace_back(endpoint.path);
  for (const GetEndpoint& endpoint : kGetEndpoints) paths.emplace_back(endpoint.path);
  const std::string near = did_you_mean(head.path, paths);
  return http_error(404, str_cat("No such endpoint: ", head.method, " ", quoted(head.path),
                                 near.empty() ? "; GET /openapi.json describes all" : near));
}

HttpReply method_reply(const RequestHead& head) {
  const std::optional<Path> path = find_path(head.path);
  HttpReply reply =
      http_error(405, str_cat(quoted(head.path), " does not take the method ", quoted(head.method),
                              ": use ", path && path->route.is_post() ? "POST" : "GET"));
  reply.headers = allow_header(head);
  return reply;
}

HttpReply options_reply(const ServerContext& context, const RequestHead& head) {
  HttpReply reply;
  reply.status = 204;
  reply.headers = str_cat(allow_header(head), context.cors.preflight_headers());
  return reply;
}

}  // namespace

Route route_request(const RequestHead& head) {
  const bool asks_options = head.method == "OPTIONS";
  if (asks_options && head.path == kWholeServer) return {.kind = Route::Kind::kOptions};
  const std::optional<Path> path = find_path(head.path);
  if (!path) return {.kind = Route::Kind::kNotFound};
  if (asks_options) return {.kind = Route::Kind::kOptions};
  const bool read_only = head.method == "GET" || head.method == "HEAD";
  const bool allowed = path->route.is_post() ? head.method == "POST" : read_only;
  return allowed ? path->route : Route{.kind = Route::Kind::kMethodNotAllowed};
}

std::string_view route_name(const RequestHead& head) {
  const std::optional<Path> path = find_path(head.path);
  return path ? path->path : "other";
}

HttpReply answer(const ServerContext& context, Route route, const RequestHead& head) {
  switch (route.kind) {
    case Route::Kind::kPost: break;  // its reply needs the body
    case Route::Kind::kGet: return route.get->reply(context, head);
    case Route::Kind::kOptions: return options_reply(context, head);
    case Route::Kind::kNotFound: return path_reply(head);
    case Route::Kind::kMethodNotAllowed: return method_reply(head);
  }
  return {};
}

}  // namespace deltaserve
