// Reads the figures of this process from Linux that Prometheus clients report under process_*.
#pragma once
#include <cstdint>

namespace deltaserve {

// A figure that cannot be read is 0.
struct ProcessStats {
  double cpu_seconds = 0;  // in user and in system mode
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_descriptors = 0;
  uint64_t max_descriptors = 0;
  double start_time = 0;  // Unix seconds
};

ProcessStats process_stats();

}  // namespace deltaserve
