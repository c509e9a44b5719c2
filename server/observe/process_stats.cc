#include "server/observe/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace deltaserve {
namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

uint64_t count_descriptors() {
  std::error_code ec;
  uint64_t count = 0;
  std::filesystem::directory_iterator entry("/proc/self/fd", ec), end;
  while (!ec && entry != end) {
    ++count;
    entry.increment(ec);
  }
  return count > 0 ? count - 1 : 0;  // reading the folder opens one
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
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_descriptors = limit.rlim_cur;
  stats.open_descriptors = count_descriptors();
  static const double kStartTime = start_time();
  stats.start_time = kStartTime;
  return stats;
}

}  // namespace deltaserve
