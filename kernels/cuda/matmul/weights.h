// Copies weights from the host's memory to the device's.
#pragma once
#include <cstddef>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/device/rows.h"
#include "kernels/program/program.h"

namespace deltaserve::cuda {

struct LoadedMatrix {
  DeviceMatrix matrix;
  Memory<unsigned char> memory;  // empty if there was not enough memory

  size_t bytes() const {
    return static_cast<size_t>((matrix.rows + matrix.padding) * matrix.stride) *
           dtype_size(matrix.dtype);
  }
};

class WeightLoader {
 public:
  explicit WeightLoader(Runtime& runtime) : runtime_(runtime) {}

  // Stacks blocks of equal columns by rows. kAuto keeps bf16 where every block is bf16; everything
  // else becomes f32. bf16 gets rows of zeros up to a multiple of 64. For integer formats the
  // matrix is empty.
  LoadedMatrix load_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format);
  Memory<float> load_vector(const HostMatrix& values);

 private:
  // Copies `bytes` that fill(index of the first, count, to) gives, a piece at a time.
  template <class Fill>
  bool copy_in(unsigned char* to, int64_t units, int64_t unit_bytes, const Fill& fill);

  Runtime& runtime_;
  HostMemory<unsigned char> staging_;
};

}  // namespace deltaserve::cuda
