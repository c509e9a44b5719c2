// Products of bf16 by cuBLASLt. matmul_library_device.cc is CUDA's; matmul_library_host.cc has
// none.
#pragma once
#include <cstdint>
#include <memory>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {

enum class LibraryChoice : uint8_t {
  // One algorithm for a shape of weights, whatever the number of rows. A row's bits then depend on
  // the other rows only as far as the library's algorithm itself lets them.
  kOnce,
  kForRows,  // what should be fastest for the number of rows: a row's bits depend on the batch
};

class ProductLibrary {
 public:
  // Null where there is no library, or no memory for its workspace. `runtime` must outlive it.
  static std::unique_ptr<ProductLibrary> create(Runtime& runtime, LibraryChoice choice);
  virtual ~ProductLibrary() = default;

  // At load: chooses algorithms for weights of this shape and up to `max_rows` rows.
  virtual void prepare(const DeviceMatrix& w, int64_t max_rows) = 0;
  // As launch_tensor_product. False: the library takes no such product, and nothing was launched.
  virtual bool multiply(const ProductCall& call) = 0;
};

}  // namespace deltaserve::cuda
