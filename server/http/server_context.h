// All connections share this context.
#pragma once
#include <atomic>

#include "server/http/cors.h"
#include "server/http/host_policy.h"
#include "server/http/idle_connections.h"
#include "server/net/connection_places.h"
#include "server/net/tls.h"
#include "server/service/services.h"

namespace deltaserve {

// Outlives the connections.
struct ServerContext {
  Services& services;
  const CorsPolicy cors;
  HostPolicy hosts = {};              // set before the first connection
  const SharedTls tls = nullptr;      // null: in the clear
  std::atomic<bool> stopping{false};  // workers finish without doing the work that waits
  ConnectionPlaces connections{services.limits.connections,
                               services.limits.connections_per_address};
  IdleConnections idle_connections = {};
  std::atomic<int> requests{0};  // from a complete head to the last byte of the reply
};

}  // namespace deltaserve
