// One HTTP/1.x connection from accept to close.
#pragma once
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>

#include "server/completion_job.h"
#include "server/limits.h"
#include "server/memory_budget.h"

namespace deltaserve {

// What connections share. Outlives them.
struct ServerContext {
  ServerContext(const ServerLimits& server_limits, const ServedModel& served, Engine* the_engine)
      : limits(server_limits), model(served), engine(the_engine), budget(limits.total_body_bytes) {}

  const ServerLimits limits;
  const ServedModel& model;
  Engine* const engine;
  MemoryBudget budget;
  // Parsing and encoding, off the I/O threads. Large bodies have a worker of their own.
  boost::asio::thread_pool small_work{1};
  boost::asio::thread_pool large_work{1};
  std::atomic<bool> draining{false};
  std::atomic<bool> stopping{false};  // workers finish without doing what waits
  std::atomic<int> connections{0};
  std::atomic<int> requests{0};  // from a complete head to the last byte of the reply
};

// Serves requests one after another until the client or an error ends the connection. Runs on the
// socket's executor, which must be a strand.
boost::asio::awaitable<void> serve_connection(ServerContext& context,
                                              boost::asio::ip::tcp::socket socket);

}  // namespace deltaserve
