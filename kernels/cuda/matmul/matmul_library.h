// cuBLASLt multiplies bf16. matmul_library_device.cc is CUDA's; matmul_library_host.cc pretends to
// be one, for tests. library_self_test.h and matmul_runner.h choose among its algorithms.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {

// One of the library's ways to multiply, as the library keeps it.
struct LibraryAlgorithm {
  uint64_t data[8] = {};
  bool whole = false;  // one block sums an output from first to last, and it gets no workspace
};

// It reads w, x_bf16 and what follows in a MatmulCall. It writes w.rows + w.padding outputs.
class MatmulLibrary {
 public:
  // Null where there is no library, or no memory for its workspace. `runtime` must outlive it.
  static std::unique_ptr<MatmulLibrary> create(Runtime& runtime);
  virtual ~MatmulLibrary() = default;

  // Offers at load at most `most` algorithms for matmuls like `call`, whose pointers do not count,
  // what the library thinks fastest first. `whole`: only those that are, as far as they tell.
  virtual std::vector<LibraryAlgorithm> candidates(const MatmulCall& call, int most,
                                                   bool whole) = 0;
  // Returns true if the algorithm can do a matmul like `call`, whose pointers do not count.
  virtual bool takes(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // Does what launch_tensor_matmul does. False: the library refused, and nothing was launched.
  virtual bool multiply(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // Names the algorithm for logs.
  virtual std::string name(const LibraryAlgorithm& algorithm) const = 0;
};

}  // namespace deltaserve::cuda
