// The backend that a program of tests runs its models on: cpu_backend.cc, or tests/cuda/.
#pragma once
#include <memory>

#include "kernels/backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool* threads);

}  // namespace deltaserve
