#include "server/service/services.h"

#include <chrono>
#include <memory>
#include <utility>

#include "engine/grammar/grammar_cache.h"
#include "server/base/machine_memory.h"
#include "server/base/process.h"

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
      workers(limits.large_body_bytes, limits.huge_body_bytes),
      ports(&metrics, &log),
      overload(
          [this](bool allowed) {
            budget.set_most_for_one(allowed ? UINT64_MAX : limits.huge_body_bytes);
          },
          &metrics, &log),
      wrong_keys_(limits.wrong_keys) {
  budget.set_shared(keys.get()->num_owners() > 1);
  overload.watch(memory_resource());
  overload.watch(workers_resource());
}

Overload::Resource Services::memory_resource() {
  return {
      .name = "memory",
      .use =
          [this] {
            return Overload::Use{resident_memory(), memory_limit};
          },
      .trim =
          [this] {
            engine.trim_prefixes();
            if (model.grammars != nullptr) model.grammars->trim();
            trim_heap();
          },
      .end_largest = [this] { return large_requests.end_largest(); },
      .users = Overload::kRequests,
  };
}

Overload::Resource Services::workers_resource() {
  return {
      .name = "workers",
      .use =
          [this] {
            return Overload::Use{workers.most_waiting(), Workers::kRequests};
          },
      .trim = [this] { read_aheads.drop_half(); },
      .users = Overload::kRequests,
  };
}

std::variant<PrefixOwner, ApiError> Services::owner_of(std::string_view authorization,
                                                       std::string_view address) {
  const std::optional<PrefixOwner> owner = keys.get()->owner_of_authorization(authorization);
  if (owner) return *owner;
  const WrongKeys::Verdict verdict = wrong_keys_.count(address, std::chrono::steady_clock::now());
  const bool refused = verdict == WrongKeys::Verdict::kRefuse;
  metrics.wrong_keys.add({refused ? "refused" : "too_many"});
  if (verdict == WrongKeys::Verdict::kBegins) {
    log.write(LogLevel::kWarning, "too_many_wrong_keys", LogFields().text("address", address));
  }
  return refused ? unauthenticated_error() : too_many_wrong_keys_error();
}

void Services::set_keys(KeyRing the_keys) {
  budget.set_shared(the_keys.num_owners() > 1);
  keys.set(std::make_shared<const KeyRing>(std::move(the_keys)));
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
