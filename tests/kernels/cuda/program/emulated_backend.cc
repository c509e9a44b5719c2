#include "kernels/cuda/program/backend.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "tests/models/test_backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool*) {
  std::string error;
  return cuda::make_cuda_backend(cuda::Runtime::create(&error));
}

double golden_tolerance(const MixerShape& shape) {
  // Prefill takes q, k and v as images in bf16, or keeps both halves of every float.
  if (cuda::has_image_prefill(shape)) return 3e-3;
  return cuda::has_tensor_prefill(shape) ? 6e-4 : 1e-5;
}

}  // namespace deltaserve
