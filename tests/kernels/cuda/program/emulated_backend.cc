#include "kernels/cuda/program/backend.h"
#include "tests/models/test_backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool*) {
  std::string error;
  return cuda::make_cuda_backend(cuda::Runtime::create(&error));
}

}  // namespace deltaserve
