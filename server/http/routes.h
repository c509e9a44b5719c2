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

// A path of GET and HEAD. Its reply comes from memory.
struct GetEndpoint {
  std::string_view path;
  HttpReply (*reply)(const ServerContext& context, const RequestHead& head);
  bool is_public = false;  // needs no key
};

// A request's method and path, understood.
struct Route {
  enum class Kind : uint8_t {
    kPost,  // takes a body and needs a worker
    kGet,
    kOptions,
    kNotFound,
    kMethodNotAllowed,
  };
  Kind kind = Kind::kNotFound;
  const PostEndpoint* endpoint = nullptr;  // kPost
  const GetEndpoint* get = nullptr;        // kGet

  bool is_post() const { return kind == Kind::kPost; }
  // Returns true if the route submits to the engine.
  bool generates() const { return is_post() && endpoint->generates(); }
  // Returns true if it needs no key, as OPTIONS does, which browsers send without one.
  bool is_public() const {
    return kind == Kind::kOptions || (kind == Kind::kGet && get->is_public);
  }
};

Route route_request(const RequestHead& head);

// Returns the path, with {model} for a name, or "other"; for logs and metrics.
std::string_view route_name(const RequestHead& head);

// Returns the reply to a route that takes no body.
HttpReply answer(const ServerContext& context, Route route, const RequestHead& head);

}  // namespace deltaserve
