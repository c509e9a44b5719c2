// Multiplies bf16 by cuBLASLt. matmul_library_device.cc calls it; matmul_library_host.cc is a
// stand-in for tests. library_self_test.h and matmul_runner.h choose among its algorithms.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {

// One of the library's algorithms, in the library's own form.
struct LibraryAlgorithm {
  uint64_t data[8] = {};
  bool whole = false;  // one block sums an output from first to last, and it gets no workspace
};

// The library reads w, x_bf16 and the members after it of a MatmulCall, and writes w.rows +
// w.padding outputs.
class MatmulLibrary {
 public:
  // Returns null if there is no library, or no memory for its workspace. `runtime` must outlive the
  // object.
  static std::unique_ptr<MatmulLibrary> create(Runtime& runtime);
  virtual ~MatmulLibrary() = default;

  // Returns, at load, at most `most` algorithms for matmuls like `call`, whose pointers are not
  // used; those that the library expects to be fastest come first. With `whole` only algorithms
  // that report to be whole.
  virtual std::vector<LibraryAlgorithm> candidates(const MatmulCall& call, int most,
                                                   bool whole) = 0;
  // Returns true if the algorithm supports a matmul like `call`, whose pointers are not used.
  virtual bool takes(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // Computes the same as launch_tensor_matmul. Returns false if the library refused; then nothing
  // was launched.
  virtual bool multiply(const LibraryAlgorithm& algorithm, const MatmulCall& call) = 0;
  // Names the algorithm for logs.
  virtual std::string name(const LibraryAlgorithm& algorithm) const = 0;
};

}  // namespace deltaserve::cuda
