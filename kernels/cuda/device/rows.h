// Weights and activations in a device's memory.
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"

namespace deltaserve::cuda {

// The library's kernels need no tails for such numbers of rows of weights and of activations.
constexpr int64_t padded_to_64(int64_t n) {
  return (n + 63) / 64 * 64;
}

// Several kernels must sum squares with the same bits. They sum each group of kSquareGroup
// neighbouring values by simt::lanes_sum, with zeros after the last value, and then the groups in
// an order that depends only on their number.
inline constexpr int kSquareGroup = 16;
constexpr int square_groups(int64_t width) {
  return static_cast<int>((width + kSquareGroup - 1) / kSquareGroup);
}

// A weight [rows, columns] = [out_features, in_features], row-major, kF32 or kBf16, 16-byte aligned
// rows (`stride`: columns are padded with zeros to a multiple of 8).
struct DeviceMatrix {
  const void* data = nullptr;
  Dtype dtype = Dtype::kBf16;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;   // elements from row to row
  int64_t padding = 0;  // rows of zeros after them
};

// Activations [rows, columns], float, and the same rounded to bf16 for matmuls with bf16 weights.
struct DeviceRows {
  float* data = nullptr;     // of what a kernel writes: null where all readers take bf16
  uint16_t* bf16 = nullptr;  // null where no matmul reads it
  int64_t columns = 0;
  int64_t stride = 0;  // elements from row to row, of both

  // Returns the rows from row `first` on.
  DeviceRows from(int64_t first) const {
    return {data == nullptr ? nullptr : data + first * stride,
            bf16 == nullptr ? nullptr : bf16 + first * stride, columns, stride};
  }
};

}  // namespace deltaserve::cuda
