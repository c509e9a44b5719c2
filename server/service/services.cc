#include "server/service/services.h"

#include <memory>
#include <utility>

#include "engine/grammar/grammar_cache.h"
#include "server/base/machine_memory.h"

namespace deltaserve {

Services::Services(ServiceOptions options, const ServedModel* served, Engine* the_engine,
                   Metrics* the_metrics, Logger* the_log, KeyRing the_keys)
    : limits(options.limits),
      max_queue(options.max_queue),
      log_prompts(options.log_prompts),
      version(std::move(options.version)),
      memory_limit(options.memory_limit),
      spans(options.spans),
      model(*served),
      engine(*the_engine),
      metrics(*the_metrics),
      log(*the_log),
      keys(std::make_shared<const KeyRing>(std::move(the_keys))),
      budget(limits.total_body_bytes),
      read_aheads(model, limits, engine, workers, metrics, log),
      workers(limits.large_body_bytes),
      overload(memory_limit, resident_memory, measures(), &metrics, &log) {}

Overload::Measures Services::measures() {
  constexpr uint64_t kLargeBody = 1 << 20;
  return {
      .allow_large_bodies =
          [this](bool allowed) { budget.set_most_for_one(allowed ? UINT64_MAX : kLargeBody); },
      .trim_caches =
          [this] {
            if (model.grammars != nullptr) model.grammars->trim();
          },
      .end_largest = [this] { return large_requests.end_largest(); },
  };
}

std::variant<PrefixOwner, ApiError> Services::owner_of(std::string_view authorization) const {
  const std::optional<PrefixOwner> owner = keys.get()->owner_of_authorization(authorization);
  if (owner) return *owner;
  return unauthenticated_error();
}

std::optional<ApiError> Services::admit(bool generates) const {
  if (draining_) return shutting_down_error();
  if (!overload.takes_requests()) return out_of_memory_error();
  if (!generates) return std::nullopt;
  const EngineStats stats = engine.stats();
  if (stats.waiting + stats.running < stats.slots + max_queue) return std::nullopt;
  metrics.queue_full.add();
  return queue_full_error("the queue is full: try again later");
}

bool Services::drain() {
  if (draining_.exchange(true)) return false;
  read_aheads.close();
  engine.drain();
  return true;
}

void Services::stop() {
  overload.stop();
  read_aheads.close();
  engine.stop();
  workers.stop();
}

}  // namespace deltaserve
