// How much memory this process may still take, by what Linux says.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace deltaserve {

// Returns bytes: what the machine has available, or less where a control group (version 2 or 1) of
// the process or one around it has a limit. Pages that only cache files count as free. nullopt:
// /proc/meminfo cannot be read. `root` is "/" but in tests.
std::optional<uint64_t> available_memory(const std::string& root = "/");

// Returns bytes: all that the process may have, of the machine or of a control group with a limit.
// nullopt: /proc/meminfo cannot be read.
std::optional<uint64_t> memory_limit(const std::string& root = "/");

// Returns the bytes that the process has in memory; 0 if that cannot be read.
uint64_t resident_memory();

// Returns how many states of `state_bytes` a cache has by default: they take a quarter of what is
// left of `available` bytes behind `taken`, and are at most 512.
int snapshots_that_fit(uint64_t available, uint64_t taken, uint64_t state_bytes);

}  // namespace deltaserve
