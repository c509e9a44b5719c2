// A CUDA module without CUDA: behind the table stands a backend that writes down its calls.
#pragma once
#include <memory>
#include <string>

#include "kernels/program/backend.h"

namespace deltaserve {

// Computes nothing: every drawn token is kRecordedToken, and what else is returned are numbers of
// their own. Pointers are written down as they are, so that two calls with the same arguments leave
// the same line. Throws std::bad_alloc where Limits::rows is negative. A line a call is added to
// `calls`.
std::unique_ptr<Backend> make_recording_backend(std::string* calls);

inline constexpr int32_t kRecordedToken = 42;

}  // namespace deltaserve

// Returns the lines of all backends of the module.
extern "C" const char* deltaserve_recorded_calls();
