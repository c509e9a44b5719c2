// Finds out from Linux how much memory this process may still take.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace deltaserve {

// Returns the available bytes: those of the machine, or fewer if a control group (version 2 or 1)
// of the process or one of its parents has a limit. Pages that only cache files count as free.
// Returns nullopt if /proc/meminfo cannot be read. `root` is "/" except in tests.
std::optional<uint64_t> available_memory(const std::string& root = "/");

// Returns the bytes that the process may use in total: all of the machine's, or the limit of a
// control group. Returns nullopt if /proc/meminfo cannot be read.
std::optional<uint64_t> memory_limit(const std::string& root = "/");

// Returns the bytes that the process has in memory; 0 if that cannot be read.
uint64_t resident_memory();

// The default size of the memory for snapshots: one part of `parts` of what is left, and at most
// `most` snapshots.
struct SnapshotShare {
  uint64_t parts = 1;
  uint64_t most = 0;
};
inline constexpr SnapshotShare kMachineShare{4, 512};  // of memory that other programs need, too
inline constexpr SnapshotShare kDeviceShare{2, 4096};  // of a device's own memory

// Returns how many states of `state_bytes` each fit by that rule into the `available` bytes without
// `taken` of them.
int snapshots_that_fit(uint64_t available, uint64_t taken, uint64_t state_bytes,
                       const SnapshotShare& share);

}  // namespace deltaserve
