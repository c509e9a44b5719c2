// The backend on which a test program runs its models: cpu_backend.cc, or the emulation of a GPU.
#pragma once
#include <memory>

#include "kernels/program/backend.h"
#include "kernels/program/mixer_shape.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool* threads);

// Returns how far a model with layers of this shape may be from float64, relative to the norm: it
// is larger if a backend rounds the operands of prefill to bf16.
double golden_tolerance(const MixerShape& shape);

}  // namespace deltaserve
