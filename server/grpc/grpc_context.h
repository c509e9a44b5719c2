// What all calls of the gRPC front share.
#pragma once
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "engine/engine.h"
#include "server/grpc/grpc_server.h"
#include "server/limits.h"
#include "server/memory_budget.h"

namespace deltaserve {

struct GrpcContext {
  GrpcContext(const GrpcOptions& options, const GrpcServices& services)
      : limits(options.limits),
        request_limits(options.request_limits),
        log_prompts(options.log_prompts),
        model(*services.model),
        engine(services.engine),
        metrics(services.metrics),
        log(services.log),
        keys(services.keys),
        budget(limits.total_message_bytes) {}

  const GrpcLimits limits;
  const ServerLimits request_limits;
  const bool log_prompts;
  const ServedModel& model;
  Engine* const engine;
  Metrics* const metrics;
  Logger* const log;
  const KeyRing* const keys;
  MemoryBudget budget;
  std::atomic<int> calls{0};  // from arrival to OnDone
  std::atomic<bool> draining{false};
  boost::asio::io_context io;  // writes, timers and signals; each call has a strand
  // Parsing and encoding, off the threads of gRPC. Large messages have a worker of their own.
  boost::asio::thread_pool small_work{1};
  boost::asio::thread_pool large_work{1};
};

}  // namespace deltaserve
