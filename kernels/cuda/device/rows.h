// Weights and activations in a device's memory.
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"

namespace deltaserve::cuda {

// A library's kernels take such sizes without tails, of weights' rows and of rows of activations.
constexpr int64_t padded_to_64(int64_t n) {
  return (n + 63) / 64 * 64;
}

// The squares of neighbouring values are summed so where several kernels must have the same bits:
// of each kSquareGroup of them, 0 behind the last one, by simt::lanes_sum, then the groups in an
// order that the number of groups fixes.
inline constexpr int kSquareGroup = 16;
constexpr int square_groups(int64_t width) {
  return static_cast<int>((width + kSquareGroup - 1) / kSquareGroup);
}

// A weight [rows, columns] = [out_features, in_features], row-major, kF32 or kBf16, 16-byte aligned
// rows (columns are padded with zeros to a multiple of 8 where they are not one: `stride`).
struct DeviceMatrix {
  const void* data = nullptr;
  Dtype dtype = Dtype::kBf16;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;   // elements from row to row
  int64_t padding = 0;  // rows of zeros behind them
};

// Activations [rows, columns], float, and the same rounded to bf16 for matmuls with bf16 weights.
struct DeviceRows {
  float* data = nullptr;
  uint16_t* bf16 = nullptr;  // null where no matmul reads it
  int64_t columns = 0;
  int64_t stride = 0;  // elements from row to row, of both

  // Returns those from row `first` on.
  DeviceRows from(int64_t first) const {
    return {data + first * stride, bf16 == nullptr ? nullptr : bf16 + first * stride, columns,
            stride};
  }
};

}  // namespace deltaserve::cuda
