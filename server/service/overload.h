// Watches how much memory the process has, in one place, and takes measures before the system does:
// the kernel would end the whole process where ending one request is enough.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>

#include "server/observe/log.h"
#include "server/observe/metrics.h"

namespace deltaserve {

// The measures, each with those before it. A measure ends when the memory is kOverloadHysteresis
// below the share at which it began.
enum class Pressure : uint8_t {
  kNone,
  kNoLargeBodies,  // 80 %: requests above 1 MiB are refused
  kTrimCaches,     // 85 %: half of the compiled grammars are dropped, once
  kNoRequests,     // 90 %: new requests are refused
  kEndLargest,     // 95 %: the request that holds most ends, one a sample
};
inline constexpr double kOverloadHysteresis = 0.05;

std::string_view pressure_name(Pressure pressure);

// Turns shares of the memory into measures. Not thread-safe.
class PressureGauge {
 public:
  // Returns the measure for a share, which may be above 1.
  Pressure update(double share);

 private:
  Pressure now_ = Pressure::kNone;
};

// One for a process. Every change is written to the log and counted, and so is every request that
// is ended. Thread-safe.
class Overload {
 public:
  struct Measures {
    std::function<void(bool)> allow_large_bodies;
    std::function<void()> trim_caches;
    std::function<bool()> end_largest;  // false: there is none
  };

  // `limit` bytes are all that the process may have; 0: nobody knows, and nothing is ever done.
  // `resident` returns what it has. The rest outlives the object.
  Overload(uint64_t limit, std::function<uint64_t()> resident, Measures measures, Metrics* metrics,
           Logger* log);
  ~Overload() { stop(); }

  // Looks at the memory now, and takes measures. The object's own thread calls it as well, once it
  // was started.
  void sample();
  void start();
  // Idempotent, from one thread.
  void stop();

  Pressure pressure() const { return pressure_; }
  bool takes_requests() const { return pressure_ < Pressure::kNoRequests; }

 private:
  void change_to(Pressure next, uint64_t resident);
  void run();

  const uint64_t limit_;
  const std::function<uint64_t()> resident_;
  const Measures measures_;
  Metrics& metrics_;
  Logger& log_;
  std::atomic<Pressure> pressure_{Pressure::kNone};
  std::mutex mutex_;
  std::condition_variable stopped_;
  PressureGauge gauge_;  // guarded by mutex_, as the next
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace deltaserve
