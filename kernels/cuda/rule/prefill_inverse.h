// (I + A)^-1 of a chunk, A strictly lower, by blocked forward substitution in float. With
// correlated keys powers of A reach 1e9 and cancel, so a series of powers is not accurate.
#pragma once
#include "kernels/cuda/rule/prefill_chunk.h"

namespace deltaserve::cuda {

// Computes one column of the inverse of a diagonal block, in registers.
DS_DEVICE void invert_diagonal(const float* a, int block, int column, float* inverse) {
  const int first = block * kBlockTokens;
  float x[kBlockTokens];
  DS_UNROLL
  for (int i = 0; i < kBlockTokens; ++i) {
    const float* row = a + (first + i) * kSquareStride + first;
    float sum = 0;
    DS_UNROLL
    for (int m = 0; m < i; ++m) sum += row[m] * x[m];
    x[i] = i < column ? 0.0f : i == column ? 1.0f : -sum;
    inverse[(first + i) * kSquareStride + first + column] = x[i];
  }
}

// x y of two runs: x along a row, y down a column.
DS_DEVICE float row_times_column(const float* row, const float* column, int count) {
  float sum = 0;
  for (int m = 0; m < count; ++m) sum += row[m] * column[m * kSquareStride];
  return sum;
}

// `a` and `inverse`: [64, kSquareStride] in shared memory. Of `a` only what is left of the diagonal
// is read; its blocks right of it are overwritten. All threads of the block, at least 64, after a
// barrier; ends with one.
DS_DEVICE void invert_unit_lower(float* a, float* inverse) {
  constexpr int kB = kBlockTokens;
  constexpr int kRow = kSquareStride;
  const int thread = simt::thread_index();
  const int threads = simt::block_threads();
  if (thread < kChunkTokens) invert_diagonal(a, thread / kB, thread % kB, inverse);
  for (int at = thread; at < kChunkTokens * kChunkTokens; at += threads) {
    const int i = at / kChunkTokens;
    const int j = at % kChunkTokens;
    if (j / kB > i / kB) inverse[i * kRow + j] = 0;
  }
  simt::sync_block();
  // X_IJ = -X_II Y, Y = sum over J <= M < I of A_IM X_MJ; one diagonal of blocks after the other,
  // Y in the place of A_JI.
  for (int distance = kB; distance < kChunkTokens; distance += kB) {
    const int count = (kChunkTokens - distance) * kB;
    for (int at = thread; at < count; at += threads) {
      const int left = at / (kB * kB) * kB;
      const int r = at / kB % kB;
      const int c = at % kB;
      a[(left + r) * kRow + left + distance + c] = row_times_column(
          a + (left + distance + r) * kRow + left, inverse + left * kRow + left + c, distance);
    }
    simt::sync_block();
    for (int at = thread; at < count; at += threads) {
      const int left = at / (kB * kB) * kB;
      const int top = left + distance;
      const int r = at / kB % kB;
      const int c = at % kB;
      inverse[(top + r) * kRow + left + c] =
          -row_times_column(inverse + (top + r) * kRow + top, a + left * kRow + top + c, r + 1);
    }
    simt::sync_block();
  }
}

}  // namespace deltaserve::cuda
