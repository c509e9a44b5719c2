// Products of bf16 by cuBLASLt. matmul_library_device.cc is CUDA's; matmul_library_host.cc pretends
// to be one, for tests. Which of its algorithms are used: library_self_test.h, matmuls.h.
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

// Of a MatmulCall it reads w, x_bf16 and what stands behind them. Outputs are w.rows + w.padding.
class MatmulLibrary {
 public:
  // Null where there is no library, or no memory for its workspace. `runtime` must outlive it.
  static std::unique_ptr<MatmulLibrary> create(Runtime& runtime);
  virtual ~MatmulLibrary() = default;

  // At load: at most `most` algorithms for matmuls like `call`, whose pointers do not count, what
  // the library thinks fastest first. `whole`: only those that are, as far as they tell.
  virtual std::vector<LibraryAlgorithm> candidates(const MatmulCall& call, int most,
                                                   bool whole) = 0;
  // Whether the algorithm can do a matmul like `call`, whose pointers do not count.
  virtual bool takes(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // As launch_tensor_matmul. False: the library refused, and nothing was launched.
  virtual bool multiply(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // For logs.
  virtual std::string name(const LibraryAlgorithm& algorithm) const = 0;
};

}  // namespace deltaserve::cuda
