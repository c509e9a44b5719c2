#include "server/base/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "server/base/control_groups.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

// The names of the files in which one version of control groups has its limits.
struct GroupFiles {
  const char* folder;  // below the root
  const char* limit;
  const char* usage;
  const char* cached;      // the line of memory.stat with pages that only cache files
  const char* controller;  // as control_groups() takes it
};
constexpr GroupFiles kVersion2 = {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ",
                                  ""};
constexpr GroupFiles kVersion1 = {"sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                  "memory.usage_in_bytes", "total_inactive_file ", "memory"};

std::optional<uint64_t> number_of(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  if (ec != std::errc()) return std::nullopt;
  return value;
}

// Returns the number after `name` in the line that begins with it.
std::optional<uint64_t> number_in(const fs::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return number_of(std::string_view(line).substr(name.size()));
  }
  return std::nullopt;
}

// Returns what is left of a group's limit; nullopt: it has none, or there is no such group.
std::optional<uint64_t> left_in_group(const fs::path& group, const GroupFiles& files) {
  const std::optional<uint64_t> limit = number_in(group / files.limit, "");
  const std::optional<uint64_t> usage = number_in(group / files.usage, "");
  if (!limit || !usage) return std::nullopt;
  const uint64_t cached = number_in(group / "memory.stat", files.cached).value_or(0);
  const uint64_t used = *usage - std::min(cached, *usage);
  return *limit - std::min(used, *limit);
}

// Returns the smallest of the value that /proc/meminfo has under that name and the values of
// `of_group` for the process's groups.
template <class OfGroup>
std::optional<uint64_t> least_of(const std::string& root, std::string_view line,
                                 const OfGroup& of_group) {
  const std::optional<uint64_t> kib = number_in(fs::path(root) / "proc/meminfo", line);
  if (!kib) return std::nullopt;
  uint64_t least = *kib * 1024;
  for (const GroupFiles& files : {kVersion2, kVersion1}) {
    for (const fs::path& group : control_groups(root, files.folder, files.controller)) {
      if (const auto bytes = of_group(group, files)) least = std::min(least, *bytes);
    }
  }
  return least;
}

}  // namespace

int snapshots_that_fit(uint64_t available, uint64_t taken, uint64_t state_bytes,
                       const SnapshotShare& share) {
  const uint64_t left = available - std::min(taken, available);
  return static_cast<int>(std::min(left / share.parts / state_bytes, share.most));
}

std::optional<uint64_t> available_memory(const std::string& root) {
  return least_of(root, "MemAvailable:", left_in_group);
}

std::optional<uint64_t> memory_limit(const std::string& root) {
  return least_of(root, "MemTotal:", [](const fs::path& group, const GroupFiles& files) {
    return number_in(group / files.limit, "");
  });
}

uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return file ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace deltaserve
