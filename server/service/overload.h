// Watches the resources that the process may run out of: memory, connections, file descriptors and
// room in the workers' queues. It takes measures before the system does, because the kernel would
// end the whole process when ending one request is enough.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/observe/log.h"
#include "server/observe/metrics.h"

namespace deltaserve {

// The measures; each includes those before it. A measure ends when the use is kOverloadHysteresis
// below the share at which it began.
enum class Pressure : uint8_t {
  kNone,
  kNoLargeBodies,  // 80 %: requests above 1 MiB are refused
  kTrimCaches,     // 85 %: half of each cache is dropped, once
  kRefuseNew,      // 90 %: new requests are refused, or new connections
  kEndLargest,     // 95 %: the largest holder is ended, one per sample
};
inline constexpr double kOverloadHysteresis = 0.05;

std::string_view pressure_name(Pressure pressure);

// Turns the used share of a resource into a measure. Not thread-safe.
class PressureGauge {
 public:
  // Returns the measure for a share, which may be above 1.
  Pressure update(double share);

 private:
  Pressure now_ = Pressure::kNone;
};

// There is one per process. Every change of measure, and everything that is ended, is written to
// the log and counted. Thread-safe.
class Overload {
 public:
  struct Use {
    uint64_t used = 0;
    uint64_t limit = 0;  // 0: unknown, and no measures are taken
  };
  // Who uses a resource, and so who must wait while it is short.
  enum Users { kRequests, kConnections, kHttpConnections, kGrpcConnections };
  // A limited resource. Its functions may be called on any thread, one at a time.
  struct Resource {
    std::string name;
    std::function<Use()> use;
    std::function<void()> trim = {};         // null: there is no cache
    std::function<bool()> end_largest = {};  // returns false if there is none; null: nothing can be
                                             // ended
    Users users = kConnections;              // kConnections: those of both ports
  };

  // `allow_large_bodies` is called with whether requests above 1 MiB are accepted, when pressure on
  // what both ports share begins or ends. `metrics` and `log` must outlive the object.
  Overload(std::function<void(bool)> allow_large_bodies, Metrics* metrics, Logger* log);
  ~Overload() { stop(); }

  // Call it before start().
  void watch(Resource resource);

  // Checks all resources now, and takes measures. After start() the object's own thread also calls
  // it.
  void sample();
  void start();
  // Stops the watching. May be called several times, by one thread.
  void stop();

  bool takes_requests() const { return pressure(kRequests) < Pressure::kRefuseNew; }
  // Return whether a port takes connections, and requests above 1 MiB. Connections of the other
  // port do not count.
  bool takes_connections(Users port) const {
    return std::max(pressure(port), pressure(kConnections)) < Pressure::kRefuseNew;
  }
  bool takes_large_bodies(Users port) const { return pressure(port) < Pressure::kNoLargeBodies; }

 private:
  struct Watched {
    Resource resource;
    PressureGauge gauge;
    Pressure pressure = Pressure::kNone;
  };

  void sample(Watched* watched);
  void change_to(Pressure next, const Use& use, Watched* watched);
  void take_joint_measures();
  Pressure pressure(Users users) const { return pressures_[users]; }
  void run();

  const std::function<void(bool)> allow_large_bodies_;
  Metrics& metrics_;
  Logger& log_;
  // The strongest measure for each kind of users.
  std::array<std::atomic<Pressure>, 4> pressures_{};
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::vector<Watched> watched_;  // guarded by mutex_, like the next two
  bool large_bodies_ = true;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace deltaserve
