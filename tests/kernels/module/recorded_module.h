// A CUDA module without CUDA: its functions call a backend that records its calls.
#pragma once
#include <memory>
#include <string>

#include "kernels/program/backend.h"

namespace deltaserve {

// Makes a backend that computes nothing: every drawn token is kRecordedToken, and every other
// result is a number of its own. Adds a line for each call to `calls`, with pointers as numbers, so
// that two calls with the same arguments add the same line. Throws std::bad_alloc if Limits::rows
// is negative.
std::unique_ptr<Backend> make_recording_backend(std::string* calls);

inline constexpr int32_t kRecordedToken = 42;

}  // namespace deltaserve

// Returns the lines of all backends of the module.
extern "C" const char* deltaserve_recorded_calls();
