// Unpredictable random bits, for identifiers and for the seeds of requests that bring none.
#pragma once
#include <cstdint>
#include <random>

namespace deltaserve {

// Returns bits of the system's source of randomness. Thread-safe.
inline uint64_t random_bits() {
  thread_local std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace deltaserve
