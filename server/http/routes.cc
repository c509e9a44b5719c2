#include "server/http/routes.h"

#include "models/base/text.h"
#include "server/http/page.h"
#include "server/http/server_context.h"
#include "server/openai/openapi.h"
#include "server/openai/response.h"

namespace deltaserve {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kWholeServer = "*";  // of OPTIONS

struct Path {
  std::string_view path;
  Route route;
};

// The paths that GET takes.
constexpr Path kPaths[] = {
    {"/v1/models", {Route::Kind::kModels}},
    {"/version", {Route::Kind::kVersion}},
    {"/tokenizer_info", {Route::Kind::kTokenizerInfo}},
    {"/openapi.json", {Route::Kind::kOpenApi}},
    {"/metrics", {Route::Kind::kMetrics}},
    {"/health", {Route::Kind::kHealth}},
    {"/ready", {Route::Kind::kReady}},
    {"/", {Route::Kind::kPage}},
};

// Returns nullopt for an unknown path.
std::optional<Path> find_path(std::string_view path) {
  if (path.size() > kModelPrefix.size() && path.starts_with(kModelPrefix)) {
    return Path{"/v1/models/{model}", {Route::Kind::kModel}};
  }
  for (const PostEndpoint& endpoint : post_endpoints()) {
    if (endpoint.path == path) return Path{endpoint.path, {Route::Kind::kPost, &endpoint}};
  }
  for (const Path& known : kPaths) {
    if (known.path == path) return known;
  }
  return std::nullopt;
}

std::string_view allow_header(const RequestHead& head) {
  const std::optional<Path> path = find_path(head.path);
  if (!path) return "Allow: GET, HEAD, POST, OPTIONS\r\n";
  return path->route.is_post() ? "Allow: POST, OPTIONS\r\n" : "Allow: GET, HEAD, OPTIONS\r\n";
}

HttpReply ready_reply(const ServerContext& context) {
  const EngineStats stats = context.services.engine.stats();
  const bool draining = context.services.draining();
  HttpReply reply;
  reply.status = draining ? 503 : 200;
  reply.body =
      str_cat("{\"status\":\"", draining ? "draining" : "ready", "\",\"slots\":", stats.slots,
              ",\"running\":", stats.running, ",\"waiting\":", stats.waiting, "}");
  return reply;
}

HttpReply model_reply(const ServerContext& context, const RequestHead& head) {
  const std::string_view name = std::string_view(head.path).substr(kModelPrefix.size());
  if (name != context.services.model.name) {
    return error_reply({ErrorKind::kModelNotFound,
                        str_cat("The model ", quoted(name), " does not exist."), "model"});
  }
  HttpReply reply;
  reply.body = model_json(context.services.model);
  return reply;
}

HttpReply metrics_reply(const ServerContext& context) {
  const Services& services = context.services;
  ServerState state;
  state.version = services.version;
  state.model_name = services.model.name;
  state.state_bytes = services.model.state_bytes;
  state.http_connections = context.connections;
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

HttpReply page_reply() {
  HttpReply reply;
  reply.body = page_html();
  reply.content_type = "text/html; charset=utf-8";
  reply.headers = page_headers();
  return reply;
}

HttpReply method_reply(const RequestHead& head) {
  HttpReply reply = http_error(
      405, str_cat(quoted(head.path), " does not take the method ", quoted(head.method)));
  reply.headers = allow_header(head);
  return reply;
}

HttpReply options_reply(const ServerContext& context, const RequestHead& head) {
  HttpReply reply;
  reply.status = 204;
  reply.headers = str_cat(allow_header(head), context.cors.preflight_headers());
  return reply;
}

HttpReply version_reply(const ServerContext& context) {
  HttpReply reply;
  reply.body = "{\"version\":";
  append_json_string(&reply.body, context.services.version);
  reply.body.push_back('}');
  return reply;
}

HttpReply openapi_reply(const ServerContext& context) {
  const Services& services = context.services;
  HttpReply reply;
  reply.body =
      openapi_json(services.model, services.limits,
                   {.version = services.version, .needs_key = !services.keys.get()->empty()});
  return reply;
}

HttpReply tokenizer_reply(const ServerContext& context) {
  const std::string& info = context.services.model.tokenizer_info;
  if (info.empty()) return http_error(404, "the model has no tokenizer");
  HttpReply reply;
  reply.body = info;
  return reply;
}

}  // namespace

Route route_request(const RequestHead& head) {
  const bool asks_options = head.method == "OPTIONS";
  if (asks_options && head.path == kWholeServer) return {Route::Kind::kOptions};
  const std::optional<Path> path = find_path(head.path);
  if (!path) return {Route::Kind::kNotFound};
  if (asks_options) return {Route::Kind::kOptions};
  const bool read_only = head.method == "GET" || head.method == "HEAD";
  const bool allowed = path->route.is_post() ? head.method == "POST" : read_only;
  return allowed ? path->route : Route{Route::Kind::kMethodNotAllowed};
}

std::string_view route_name(const RequestHead& head) {
  const std::optional<Path> path = find_path(head.path);
  return path ? path->path : "other";
}

HttpReply answer(const ServerContext& context, Route route, const RequestHead& head) {
  HttpReply reply;
  switch (route.kind) {
    case Route::Kind::kPost: break;  // its reply needs the body
    case Route::Kind::kModels: reply.body = model_list_json(context.services.model); break;
    case Route::Kind::kModel: return model_reply(context, head);
    case Route::Kind::kVersion: return version_reply(context);
    case Route::Kind::kTokenizerInfo: return tokenizer_reply(context);
    case Route::Kind::kOpenApi: return openapi_reply(context);
    case Route::Kind::kMetrics: return metrics_reply(context);
    case Route::Kind::kHealth: reply.body = "{\"status\":\"ok\"}"; break;
    case Route::Kind::kReady: return ready_reply(context);
    case Route::Kind::kPage: return page_reply();
    case Route::Kind::kOptions: return options_reply(context, head);
    case Route::Kind::kNotFound:
      return http_error(404, str_cat("No such endpoint: ", head.method, " ", quoted(head.path)));
    case Route::Kind::kMethodNotAllowed: return method_reply(head);
  }
  return reply;
}

}  // namespace deltaserve
