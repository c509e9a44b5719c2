#include "server/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "server/base/control_groups.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

int processors_of_affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // The call fails if the machine has more processors than the set has bits.
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

// Returns the processors that a group's quota is worth; nullopt: it has none.
std::optional<double> quota_of_version2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0, period = 0;  // "max 100000" is no number and so no quota
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

std::optional<double> quota_of_version1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us"), period_file(group / "cpu.cfs_period_us");
  double quota = 0, period = 0;  // a quota of -1 is none
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

}  // namespace

int usable_processors(const std::string& root) {
  double processors = processors_of_affinity();
  for (const fs::path& group : control_groups(root, "sys/fs/cgroup", "")) {
    processors = std::min(processors, quota_of_version2(group).value_or(processors));
  }
  for (const fs::path& group : control_groups(root, "sys/fs/cgroup/cpu", "cpu")) {
    processors = std::min(processors, quota_of_version1(group).value_or(processors));
  }
  return std::max(1, static_cast<int>(std::ceil(processors)));
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

}  // namespace deltaserve
