// Which paths there are, and the replies that come from memory.
#pragma once
#include <optional>
#include <string_view>

#include "server/http_reply.h"

namespace deltaserve {

struct ServerContext;

enum class Route : uint8_t {
  kCompletions,
  kChatCompletions,
  kTokenize,
  kDetokenize,
  kModels,
  kModel,
  kMetrics,
  kHealth,
  kReady,
  kPage,
  kPreflight,
  kNotFound,
  kMethodNotAllowed,
};

// The target's query is ignored. kPreflight: OPTIONS on a known path, if `preflights`.
Route route_request(const RequestHead& head, bool preflights);

// The path, with {model} for a name, or "other"; for logs and metrics.
std::string_view route_name(const RequestHead& head);

// Takes a body and needs a worker.
bool is_post(Route route);
// Submits to the engine.
bool is_generating(Route route);
// Needs no key: probes, preflights, and the page, which holds nothing but how to ask.
bool is_public(Route route);

// The reply to a route that takes no body; to the others, that the server is shutting down.
HttpReply answer(const ServerContext& context, Route route, const RequestHead& head);

}  // namespace deltaserve
