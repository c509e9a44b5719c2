// Weights packed for the CPU and their product with rows of activations.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/ops.h"

namespace deltaserve::cpu {

// Output features of one panel. A panel holds, for every input feature in order, its weights to
// kPanelColumns outputs side by side: f32 as they are; bf16 as 16 words whose low halves belong to
// outputs 0..15 and whose high halves to outputs 16..31, so that widening is a shift and a mask.
inline constexpr int64_t kPanelColumns = 32;

// w [rows = output features, columns = input features]; missing outputs of the last panel are zero.
struct PackedMatrix {
  Dtype dtype = Dtype::kF32;  // kF32 or kBf16
  int64_t rows = 0;
  int64_t columns = 0;
  AlignedArray<unsigned char> data;

  int64_t panels() const { return (rows + kPanelColumns - 1) / kPanelColumns; }
  size_t panel_bytes() const {
    return static_cast<size_t>(columns * kPanelColumns) * dtype_size(dtype);
  }
  const unsigned char* panel(int64_t index) const {
    return data.get() + static_cast<size_t>(index) * panel_bytes();
  }
  float at(int64_t row, int64_t column) const;
};

// Stacks blocks by rows. Returns a matrix without data when the memory is not there.
PackedMatrix pack_matrix(const HostMatrix* blocks, int num_blocks, ThreadPool& threads);

// out[r][:] (= | +=) sum over columns of x[r][:] w[:][:], for `num_rows` rows.
//
// An output is summed over blocks of 256 input features, each block one chain of multiply-adds in
// order, blocks added in order: the same order for any number of rows and threads.
void matmul(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t num_rows,
            bool accumulate, float* out, int64_t out_stride, ThreadPool& threads);

}  // namespace deltaserve::cpu
