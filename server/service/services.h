// The fronts share these: the model and its engine, limits and memory, workers, keys, counters and
// the log, and the rules of admission.
#pragma once
#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "engine/loop/engine.h"
#include "server/base/api_error.h"
#include "server/base/exchangeable.h"
#include "server/base/key_ring.h"
#include "server/base/limits.h"
#include "server/base/memory_budget.h"
#include "server/base/served_model.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/request_span.h"
#include "server/service/large_requests.h"
#include "server/service/overload.h"
#include "server/service/ports.h"
#include "server/service/read_aheads.h"
#include "server/service/workers.h"
#include "server/service/wrong_keys.h"

namespace deltaserve {

struct ServiceOptions {
  ServerLimits limits;
  // The engine has this bound: choices that may wait for a slot.
  int max_queue = EngineOptions().max_queued_requests;
  bool log_prompts = false;
  std::string version;
  uint64_t memory_limit = 0;  // bytes that the process may have; 0: unknown
  SpanSink* spans = nullptr;  // null: no spans are made
};

// There is one per process. It outlives the servers; what it points to outlives it. Thread-safe.
class Services {
 public:
  Services(ServiceOptions options, const ServedModel* served, Engine* the_engine,
           Metrics* the_metrics, Logger* the_log, KeyRing the_keys);

  // Returns the owner of the key in `authorization` ("Bearer KEY"), or the error if it is none of
  // the server's keys; without keys all clients are one owner. `address` is the client's, under the
  // key that limits use.
  std::variant<PrefixOwner, ApiError> owner_of(std::string_view authorization,
                                               std::string_view address);
  // Replaces the keys.
  void set_keys(KeyRing keys);

  // Returns an error if new work is refused: all work once the server drains, and work that
  // generates (uses the engine) while the queue is full. The engine has the same rule; here it is
  // applied before anything is read.
  std::optional<ApiError> admit(bool generates) const;

  // Makes the engine and admit() refuse new requests from now on, and drops the read-aheads.
  // Returns false if that was done before.
  bool drain();
  bool draining() const { return draining_; }

  // Stops the engine, then the workers. It must return before the fronts are destroyed, because
  // both notify them. Idempotent, from one thread.
  void stop();

  const ServerLimits limits;
  const int max_queue;
  const bool log_prompts;
  const std::string version;
  const uint64_t memory_limit;
  SpanSink* const spans;  // null: no spans are made
  const ServedModel& model;
  Engine& engine;
  Metrics& metrics;
  Logger& log;
  Exchangeable<const KeyRing> keys;
  MemoryBudget budget;  // of large requests and replies: limits.total_body_bytes
  LargeRequests large_requests;
  ReadAheads read_aheads;
  Workers workers;
  Ports ports;
  Overload overload;

 private:
  Overload::Resource memory_resource();
  Overload::Resource workers_resource();

  WrongKeys wrong_keys_;
  std::atomic<bool> draining_{false};
};

}  // namespace deltaserve
