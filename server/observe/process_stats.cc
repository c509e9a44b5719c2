#include "server/observe/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "server/base/descriptors.h"

namespace deltaserve {
namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// Returns the Unix time at which the machine started.
double boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string name; file >> name;) {
    double seconds = 0;
    if (name == "btime" && file >> seconds) return seconds;
    std::getline(file, name);
  }
  return 0;
}

double start_time() {
  constexpr int kStartTimeField = 22;  // see proc(5)
  std::ifstream file("/proc/self/stat");
  std::string text;
  // The second field is a name in parentheses, in which anything may stand.
  if (!std::getline(file, text) || text.rfind(')') == std::string::npos) return 0;
  size_t at = text.rfind(')');
  for (int field = 2; field < kStartTimeField && at != std::string::npos; ++field) {
    at = text.find(' ', at + 1);
  }
  if (at == std::string::npos) return 0;
  const double ticks = std::stod(text.substr(at));
  return boot_time() + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

ProcessStats process_stats() {
  ProcessStats stats;
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    stats.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  }
  std::ifstream pages("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  if (pages >> all >> resident) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    stats.virtual_bytes = all * page;
    stats.resident_bytes = resident * page;
  }
  stats.max_descriptors = descriptor_limit();
  stats.open_descriptors = open_descriptors();
  static const double kStartTime = start_time();
  stats.start_time = kStartTime;
  return stats;
}

}  // namespace deltaserve
