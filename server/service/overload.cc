#include "server/service/overload.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace deltaserve {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);

// The shares of the memory at which the measures begin.
constexpr std::array<std::pair<Pressure, double>, 4> kBegins = {{{Pressure::kNoLargeBodies, 0.80},
                                                                 {Pressure::kTrimCaches, 0.85},
                                                                 {Pressure::kNoRequests, 0.90},
                                                                 {Pressure::kEndLargest, 0.95}}};

}  // namespace

std::string_view pressure_name(Pressure pressure) {
  switch (pressure) {
    case Pressure::kNone: return "none";
    case Pressure::kNoLargeBodies: return "no_large_bodies";
    case Pressure::kTrimCaches: return "trim_caches";
    case Pressure::kNoRequests: return "no_requests";
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

Overload::Overload(uint64_t limit, std::function<uint64_t()> resident, Measures measures,
                   Metrics* metrics, Logger* log)
    : limit_(limit),
      resident_(std::move(resident)),
      measures_(std::move(measures)),
      metrics_(*metrics),
      log_(*log) {}

void Overload::sample() {
  if (limit_ == 0) return;
  const std::lock_guard lock(mutex_);
  const uint64_t resident = resident_();
  const Pressure next = gauge_.update(static_cast<double>(resident) / static_cast<double>(limit_));
  if (next != pressure_) change_to(next, resident);
  if (next != Pressure::kEndLargest) return;
  // The request gives back later what it held; the next sample sees whether that was enough.
  const bool ended = measures_.end_largest();
  if (ended) metrics_.overload_actions.add({"request_ended"});
  log_.write(LogLevel::kError, "overload_end_largest",
             LogFields()
                 .integer("resident_bytes", static_cast<int64_t>(resident))
                 .boolean("ended", ended));
}

void Overload::change_to(Pressure next, uint64_t resident) {
  const Pressure before = pressure_.exchange(next);
  measures_.allow_large_bodies(next < Pressure::kNoLargeBodies);
  if (next >= Pressure::kTrimCaches && before < Pressure::kTrimCaches) measures_.trim_caches();
  metrics_.overload_actions.add({pressure_name(next)});
  log_.write(next > before ? LogLevel::kWarning : LogLevel::kInfo, "overload",
             LogFields()
                 .text("measure", pressure_name(next))
                 .text("before", pressure_name(before))
                 .integer("resident_bytes", static_cast<int64_t>(resident))
                 .integer("limit_bytes", static_cast<int64_t>(limit_)));
}

void Overload::start() {
  if (limit_ > 0) thread_ = std::thread([this] { run(); });
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
