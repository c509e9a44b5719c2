// These functions tell how many file descriptors this process has open, and how many it may have.
#pragma once
#include <cstdint>

namespace deltaserve {

// Returns the number of open descriptors; 0 if it cannot be read. It can be where none is left: the
// first call opens what the others read again. Thread-safe.
uint64_t open_descriptors();

// Returns how many descriptors the process may have, which others can change; 0 if that cannot be
// read.
uint64_t descriptor_limit();

}  // namespace deltaserve
