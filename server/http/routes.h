// The table of paths, and the replies that come from memory.
#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "server/http/page.h"
#include "server/http/reply.h"
#include "server/openai/endpoints.h"

namespace deltaserve {

struct ServerContext;

// A request's method and path, understood.
struct Route {
  enum class Kind : uint8_t {
    kPost,  // takes a body and needs a worker
    kModels,
    kModel,
    kVersion,
    kTokenizerInfo,
    kOpenApi,
    kMetrics,
    kHealth,
    kReady,
    kPage,
    kOptions,
    kNotFound,
    kMethodNotAllowed,
  };
  Kind kind = Kind::kNotFound;
  const PostEndpoint* endpoint = nullptr;  // kPost
  const PageFile* page_file = nullptr;     // kPage

  bool is_post() const { return kind == Kind::kPost; }
  // Whether the route submits to the engine.
  bool generates() const { return is_post() && endpoint->generates(); }
  // Whether it needs no key: probes, OPTIONS, which browsers send without one, and the page, which
  // only asks for one.
  bool is_public() const {
    return kind == Kind::kHealth || kind == Kind::kReady || kind == Kind::kOptions ||
           kind == Kind::kPage;
  }
};

Route route_request(const RequestHead& head);

// Returns the path, with {model} for a name, or "other"; for logs and metrics.
std::string_view route_name(const RequestHead& head);

// Returns the reply to a route that takes no body.
HttpReply answer(const ServerContext& context, Route route, const RequestHead& head);

}  // namespace deltaserve
