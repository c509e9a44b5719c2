#include "server/service/overload.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace deltaserve {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);

// The shares at which the measures begin.
constexpr std::array<std::pair<Pressure, double>, 4> kBegins = {{{Pressure::kNoLargeBodies, 0.80},
                                                                 {Pressure::kTrimCaches, 0.85},
                                                                 {Pressure::kRefuseNew, 0.90},
                                                                 {Pressure::kEndLargest, 0.95}}};

LogFields fields_of(std::string_view resource, const Overload::Use& use) {
  LogFields fields;
  fields.text("resource", resource)
      .integer("used", static_cast<int64_t>(use.used))
      .integer("limit", static_cast<int64_t>(use.limit));
  return fields;
}

}  // namespace

std::string_view pressure_name(Pressure pressure) {
  switch (pressure) {
    case Pressure::kNone: return "none";
    case Pressure::kNoLargeBodies: return "no_large_bodies";
    case Pressure::kTrimCaches: return "trim_caches";
    case Pressure::kRefuseNew: return "refuse_new";
    case Pressure::kEndLargest: return "end_largest";
  }
  return "none";
}

Pressure PressureGauge::update(double share) {
  Pressure next = Pressure::kNone;
  for (const auto& [pressure, begin] : kBegins) {
    const double least = pressure <= now_ ? begin - kOverloadHysteresis : begin;
    if (share >= least) next = pressure;
  }
  now_ = next;
  return next;
}

Overload::Overload(std::function<void(bool)> allow_large_bodies, Metrics* metrics, Logger* log)
    : allow_large_bodies_(std::move(allow_large_bodies)), metrics_(*metrics), log_(*log) {}

void Overload::watch(Resource resource) {
  const std::lock_guard lock(mutex_);
  watched_.push_back({std::move(resource), {}});
}

void Overload::sample() {
  const std::lock_guard lock(mutex_);
  for (Watched& watched : watched_) sample(&watched);
}

// Requires mutex_, like the next two.
void Overload::sample(Watched* watched) {
  const Resource& resource = watched->resource;
  const Use use = resource.use();
  if (use.limit == 0) return;
  const double share = static_cast<double>(use.used) / static_cast<double>(use.limit);
  const Pressure next = watched->gauge.update(share);
  if (next != watched->pressure) change_to(next, use, watched);
  if (next != Pressure::kEndLargest || resource.end_largest == nullptr) return;
  // The request gives its memory back later; the next sample sees whether that was enough.
  const bool ended = resource.end_largest();
  if (ended) metrics_.overload_actions.add({resource.name, "ended"});
  log_.write(LogLevel::kError, "overload_end_largest",
             fields_of(resource.name, use).boolean("ended", ended));
}

void Overload::change_to(Pressure next, const Use& use, Watched* watched) {
  const Pressure before = std::exchange(watched->pressure, next);
  const Resource& resource = watched->resource;
  take_joint_measures();
  const bool trims = next >= Pressure::kTrimCaches && before < Pressure::kTrimCaches;
  if (trims && resource.trim != nullptr) resource.trim();
  metrics_.overload_actions.add({resource.name, pressure_name(next)});
  log_.write(next > before ? LogLevel::kWarning : LogLevel::kInfo, "overload",
             fields_of(resource.name, use)
                 .text("measure", pressure_name(next))
                 .text("before", pressure_name(before)));
}

void Overload::take_joint_measures() {
  for (const Users users : {kRequests, kConnections, kHttpConnections, kGrpcConnections}) {
    Pressure strongest = Pressure::kNone;
    for (const Watched& one : watched_) {
      if (one.resource.users == users) strongest = std::max(strongest, one.pressure);
    }
    pressures_[users] = strongest;
  }
  const bool large_bodies =
      std::max(pressure(kRequests), pressure(kConnections)) < Pressure::kNoLargeBodies;
  if (std::exchange(large_bodies_, large_bodies) != large_bodies) allow_large_bodies_(large_bodies);
}

void Overload::start() {
  thread_ = std::thread([this] { run(); });
}

void Overload::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Overload::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (stopped_.wait_for(lock, kInterval, [this] { return stopping_; })) return;
    }
    sample();
  }
}

}  // namespace deltaserve
