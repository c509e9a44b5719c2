// The backend on which a test program runs its models: cpu_backend.cc, or tests/cuda/.
#pragma once
#include <memory>

#include "kernels/backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool* threads);

}  // namespace deltaserve
