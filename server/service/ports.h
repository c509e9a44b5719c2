// Ports knows which ports of the server can be reached. The server is ready only while all of them
// take connections.
#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/observe/log.h"
#include "server/observe/metrics.h"

namespace deltaserve {

// Thread-safe.
class Ports {
 public:
  // Both must outlive the object.
  Ports(Metrics* metrics, Logger* log) : metrics_(*metrics), log_(*log) {}

  // Records whether a port takes connections, and why not. A change is written to the log.
  void set_accepting(std::string_view port, bool accepting, std::string_view why = {});

  // Returns the ports that take no connections although they should.
  std::vector<std::string> deaf() const;

  // Calls `observer` after every change; null removes it, and after that call no observer is
  // running. It must not call the object.
  void set_observer(std::function<void(bool all_accept)> observer);

 private:
  Metrics& metrics_;
  Logger& log_;
  mutable std::mutex mutex_;
  std::map<std::string, bool, std::less<>> accepting_;  // by port; guarded by mutex_, like the next
  std::function<void(bool)> observer_;
};

}  // namespace deltaserve
