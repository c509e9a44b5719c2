// The root mean square norm of a row that a block of threads shares.
#pragma once
#include <cmath>

#include "kernels/cuda/device/rows.h"
#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

inline constexpr int kMaxRowThreads = 1024;
// A thread keeps this many values of a row in registers between the sum and the result.
inline constexpr int kHeldValues = 4;

// Returns the threads of a block for a row. They depend only on `width`, because a row's bits
// depend on their number.
constexpr int row_threads(int64_t width) {
  constexpr int64_t kWarpColumns = simt::kWarp * kHeldValues;
  const int64_t threads = (width + kWarpColumns - 1) / kWarpColumns * simt::kWarp;
  return static_cast<int>(threads < kMaxRowThreads ? threads : kMaxRowThreads);
}
// Returns the bytes of shared memory that normalise_row needs.
constexpr int row_scratch_bytes(int threads) {
  return threads / simt::kWarp * static_cast<int>(sizeof(float));
}

// Returns the sum of squares over a block in that order. Each thread holds its first columns,
// `stride` apart, in `held`, and calls value(c) for the others. `groups` is shared memory for
// square_groups(width) floats. All threads of the block must call it.
template <int kHeld, class Value>
DS_DEVICE float sum_of_squares_by_groups(const float (&held)[kHeld], int width, const Value& value,
                                         float* groups) {
  const int stride = simt::block_threads();
  const int first = simt::thread_index();
  const bool stores = simt::lane_index() % kSquareGroup == 0;
  float squares[kHeld];
  DS_UNROLL
  for (int i = 0; i < kHeld; ++i) squares[i] = simt::rounded_product(held[i], held[i]);
  simt::lanes_sum<kSquareGroup>(squares);
  DS_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    const int c = first + i * stride;
    if (stores && c < width) groups[c / kSquareGroup] = squares[i];
  }
  for (int begin = kHeld * stride; begin < width; begin += stride) {
    const int c = begin + first;
    const float x = c < width ? value(c) : 0.0f;
    float square[1] = {simt::rounded_product(x, x)};
    simt::lanes_sum<kSquareGroup>(square);
    if (stores && c < width) groups[c / kSquareGroup] = square[0];
  }
  simt::sync_block();
  float sum = 0;
  for (int g = 0; g < square_groups(width); ++g) sum += groups[g];
  return sum;
}

// store(c, x_c / sqrt(mean(x^2) + eps) * factor(c)) for the columns c < width of x_c = value(c). A
// thread calls them for its own columns only, value() and factor() before store() of the same
// column; beyond kHeldValues value() is called twice. All threads of the block must call it, once
// in a kernel. With kByGroups it uses the sum above, which needs square_groups(width) floats of
// shared memory.
template <bool kByGroups = false, class Value, class Factor, class Store>
DS_DEVICE void normalise_row(int width, float eps, const Value& value, const Factor& factor,
                             const Store& store) {
  const int stride = simt::block_threads();
  const int first = simt::thread_index();
  // All loads are started before the threads synchronise.
  float held[kHeldValues], factors[kHeldValues];
  auto* scratch = static_cast<float*>(simt::shared_memory());
  float squares = 0;
  DS_UNROLL
  for (int i = 0; i < kHeldValues; ++i) {
    const int c = first + i * stride;
    held[i] = c < width ? value(c) : 0.0f;
    factors[i] = c < width ? factor(c) : 0.0f;
  }
  if constexpr (kByGroups) {
    squares = sum_of_squares_by_groups(held, width, value, scratch);
  } else {
    DS_UNROLL
    for (int i = 0; i < kHeldValues; ++i) squares += held[i] * held[i];
    for (int c = first + kHeldValues * stride; c < width; c += stride) {
      const float x = value(c);
      squares += x * x;
    }
    squares = simt::block_sum(squares, scratch);
  }
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
