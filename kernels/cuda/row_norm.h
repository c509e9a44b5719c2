// The root mean square norm of a row that a block of threads shares.
#pragma once
#include <cmath>

#include "kernels/cuda/simt.h"

namespace deltaserve::cuda {

inline constexpr int kMaxRowThreads = 1024;
// Of a row, that a thread keeps in registers between the sum and the result.
inline constexpr int kHeldValues = 4;

// Threads of a block for a row of `width` columns: of the width only, so that a row's bits are.
constexpr int row_threads(int64_t width) {
  constexpr int64_t kWarpColumns = simt::kWarp * kHeldValues;
  const int64_t threads = (width + kWarpColumns - 1) / kWarpColumns * simt::kWarp;
  return static_cast<int>(threads < kMaxRowThreads ? threads : kMaxRowThreads);
}
// Shared memory of normalise_row.
constexpr int row_scratch_bytes(int threads) {
  return threads / simt::kWarp * static_cast<int>(sizeof(float));
}

// store(c, x_c / sqrt(mean(x^2) + eps) * factor(c)) for the columns c < width of x_c = value(c). A
// thread calls them for its own columns only, value() and factor() before store() of the same
// column; beyond kHeldValues value() is called twice. Reached by all threads of the block, once a
// kernel.
template <class Value, class Factor, class Store>
DS_DEVICE void normalise_row(int width, float eps, const Value& value, const Factor& factor,
                             const Store& store) {
  const int stride = simt::block_threads();
  const int first = simt::thread_index();
  // All that is read of memory is on its way before the threads meet.
  float held[kHeldValues], factors[kHeldValues];
  float squares = 0;
  DS_UNROLL
  for (int i = 0; i < kHeldValues; ++i) {
    const int c = first + i * stride;
    held[i] = c < width ? value(c) : 0.0f;
    factors[i] = c < width ? factor(c) : 0.0f;
  }
  DS_UNROLL
  for (int i = 0; i < kHeldValues; ++i) squares += held[i] * held[i];
  for (int c = first + kHeldValues * stride; c < width; c += stride) {
    const float x = value(c);
    squares += x * x;
  }
  squares = simt::block_sum(squares, static_cast<float*>(simt::shared_memory()));
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(width) + eps);
  DS_UNROLL
  for (int i = 0; i < kHeldValues; ++i) {
    const int c = first + i * stride;
    if (c < width) store(c, held[i] * scale * factors[i]);
  }
  for (int c = first + kHeldValues * stride; c < width; c += stride) {
    store(c, value(c) * scale * factor(c));
  }
}

}  // namespace deltaserve::cuda
