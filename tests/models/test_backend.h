// The backend on which a test program runs its models: cpu_backend.cc, or the emulation of a GPU.
#pragma once
#include <memory>

#include "kernels/program/backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool* threads);

}  // namespace deltaserve
