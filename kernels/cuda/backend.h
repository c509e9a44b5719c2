// The backend on a CUDA device, or on the emulation of one.
#pragma once
#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {

struct BackendOptions {
  Products products = Products::kExact;
  // Whether decode steps are filled up to padded_batch() rows, recorded and played.
  bool recordings = true;
  // Whether launches overlap where that changes no bit (prove_overlap of layer_proof.h).
  bool overlap = true;
  // Room for what the draws of a step adjust and mask. Where it does not suffice, the head takes
  // several passes and the host waits between them.
  int64_t head_extra_bytes = int64_t{8} << 20;
};

// What load_matrix() takes; it refuses other formats as if there were no memory for them. kAuto
// keeps bf16 as bf16 and widens f16 to f32.
constexpr bool supports(WeightFormat format) {
  return format != WeightFormat::kInt8 && format != WeightFormat::kInt4;
}

// Operations are collected and start in end_step(). One step may be submitted before the results
// of the last are waited for.
std::unique_ptr<Backend> make_cuda_backend(std::unique_ptr<Runtime> runtime,
                                           const BackendOptions& options = {});

}  // namespace deltaserve::cuda
