// The backend on a CUDA device, or on the emulation of one.
#pragma once
#include <memory>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/matmul/matmul_runner.h"
#include "kernels/program/backend.h"

namespace deltaserve::cuda {

struct BackendOptions {
  MatmulKernels matmuls = MatmulKernels::kExact;
  // If true, decode steps of one row a sequence are filled up to padded_batch() rows and launched
  // as a graph.
  bool graphs = true;
  // If true, launches overlap where that changes no bit (self_test_overlap of layer_self_test.h).
  bool overlap = true;
  // Room for what the draws of a step adjust and mask. Where it does not suffice, the draws take
  // several passes and the host waits between them.
  int64_t draw_extra_bytes = int64_t{8} << 20;
  // If true, a draw asks for the first weights of the forward pass behind it.
  bool prefetch = true;
  // If true, one launch decodes a mixer layer where the self-tests allow it; else its passes do.
  bool one_launch_mixer = true;
  // If true, decode matmuls do what surrounds them (decode_plan.h) where the self-tests allow it.
  bool matmul_ends = true;
};

// All calls but load() and wait() only queue work, except where draws take several passes. The
// forward pass of one step may be queued beyond the step that is waited for next.
std::unique_ptr<Backend> make_cuda_backend(std::unique_ptr<Runtime> runtime,
                                           const BackendOptions& options = {});

}  // namespace deltaserve::cuda
