// What all connections share.
#pragma once
#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <string>

#include "engine/engine.h"
#include "server/byte_stream.h"
#include "server/cors.h"
#include "server/key_ring.h"
#include "server/limits.h"
#include "server/log.h"
#include "server/memory_budget.h"
#include "server/metrics.h"
#include "server/served_model.h"

namespace deltaserve {

// Outlives the connections.
struct ServerContext {
  ServerContext(const ServerLimits& server_limits, const ServedModel& served, Engine* the_engine)
      : limits(server_limits), model(served), engine(the_engine), budget(limits.total_body_bytes) {}

  const ServerLimits limits;
  const ServedModel& model;
  Engine* const engine;
  Metrics* metrics = nullptr;  // never null once the server runs, as the next two
  Logger* log = nullptr;
  const KeyRing* keys = nullptr;
  int max_queue = 0;  // choices that may wait for a slot
  bool log_prompts = false;
  CorsPolicy cors;
  TlsContext tls;  // null: in the clear
  std::string version;

  MemoryBudget budget;
  // Parsing and encoding, off the I/O threads. Large bodies have a worker of their own.
  boost::asio::thread_pool small_work{1};
  boost::asio::thread_pool large_work{1};
  std::atomic<bool> draining{false};
  std::atomic<bool> stopping{false};  // workers finish without doing what waits
  std::atomic<int> connections{0};
  std::atomic<int> requests{0};  // from a complete head to the last byte of the reply
};

}  // namespace deltaserve
