// A buffer of activations on the device, with a copy in bf16 where a matmul reads one.
#pragma once
#include <cstdint>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/device/rows.h"

namespace deltaserve::cuda {

struct DeviceBuffer {
  int64_t columns = 0;
  int64_t stride = 0;
  Memory<float> data;     // may be empty, where all readers take `bf16`
  Memory<uint16_t> bf16;  // may be empty
  // The sums of squares of decode rows that are in `bf16` without the factor of their norm, [rows,
  // square_groups(columns)]; empty if no matmul computes that factor.
  Memory<float> squares;
  // Is true if `bf16` holds the rounded `data`: a matmul does not write it.
  bool bf16_current = false;

  DeviceBuffer() = default;
  // Allocates the buffer; it begins as zeros, including its padding.
  DeviceBuffer(Runtime& runtime, int64_t rows, int64_t num_columns, bool with_floats,
               bool with_bf16)
      : columns(num_columns), stride(padded_to_64(num_columns)) {
    if (with_floats) data = Memory<float>(runtime, rows * stride);
    if (with_bf16) bf16 = Memory<uint16_t>(runtime, rows * stride);
    complete_ = data.empty() != with_floats && bf16.empty() != with_bf16;
    if (complete_ && with_floats) runtime.fill_zero(data.get(), data.bytes());
    if (complete_ && with_bf16) runtime.fill_zero(bf16.get(), bf16.bytes());
  }

  // Returns true if there was enough memory.
  bool complete() const { return complete_; }
  size_t bytes() const { return data.bytes() + bf16.bytes() + squares.bytes(); }

  DeviceRows rows() const { return {data.get(), bf16.get(), columns, stride}; }
  // Gives its rows to a kernel that fills them together with their bf16 copy.
  DeviceRows written() {
    bf16_current = !bf16.empty();
    return rows();
  }
  // Marks the bf16 copy stale, for a kernel that changes the floats only.
  DeviceRows changed() {
    bf16_current = false;
    return {data.get(), nullptr, columns, stride};
  }

 private:
  bool complete_ = false;
};

}  // namespace deltaserve::cuda
