// The CUDA backend, from its module: a shared library that is looked for when the server starts.
#pragma once
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace deltaserve {

struct CudaOptions {
  // All products of bf16 weights by cuBLASLt, as it chooses for each number of rows: a row's bits
  // then depend on the batch.
  bool library_products = false;
};

struct CudaBackend {
  std::unique_ptr<Backend> backend;  // null: `reason` says why
  std::string reason;
  bool found = false;  // there is a module, whether it could be used or not
};

// The module is `path`, or where that is empty what the environment's DELTASERVE_CUDA_MODULE names,
// or libdeltaserve_cuda.so beside the executable, or the same on the library path: the first of
// them that is there. It stays loaded until the process ends.
CudaBackend load_cuda_backend(const std::string& path = "", const CudaOptions& options = {});

}  // namespace deltaserve
