// Which kernel multiplies, and what it needs: the one place that knows all of them.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_library.h"
#include "kernels/cuda/module_options.h"

namespace deltaserve::cuda {

// Rows of activations, [num_rows, w.columns].
struct ProductRows {
  const float* data = nullptr;
  const uint16_t* bf16 = nullptr;  // the same rounded, or null
  int64_t stride = 0;              // of both
};

class ProductRunner {
 public:
  // Products on tensor cores are first compared with plain ones; where they differ, plain ones are
  // taken. `runtime` must outlive the runner.
  ProductRunner(Runtime& runtime, Products products);

  // At load, for every weight, then reserve().
  void add_weight(const DeviceMatrix& w);
  // False: the memory for products of `max_rows` rows is not there.
  bool reserve(int64_t max_rows);

  // out (+)= x w^T, out [num_rows, w.rows] in rows `out_stride` apart.
  void multiply(const DeviceMatrix& w, const ProductRows& x, int32_t num_rows, bool accumulate,
                float* out, int64_t out_stride);

  // What was asked for and could not be had; empty if nothing.
  const std::string& warning() const { return warning_; }
  bool on_tensor_cores() const { return products_ != Products::kPlain; }
  // Whether any product reads activations as bf16.
  bool rounds_rows() const { return products_ != Products::kPlain && max_bf16_columns_ > 0; }

 private:
  Runtime& runtime_;
  Products products_;
  std::string warning_;
  std::unique_ptr<ProductLibrary> library_;
  std::vector<DeviceMatrix> bf16_weights_;
  int64_t max_bf16_columns_ = 0;  // padded
  Memory<uint16_t> rounded_;      // activations that nobody has rounded yet
};

// Whether every kernel of launch_tensor_product gives what launch_plain_product does.
bool tensor_products_agree(Runtime& runtime);

}  // namespace deltaserve::cuda
