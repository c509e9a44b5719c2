// Small dense products for one thread, per Highway target. Every output element is one chain of
// multiply-adds over the inner index in order, so its bits do not depend on how many rows or
// columns surround it.

#if defined(DELTASERVE_KERNELS_CPU_DENSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_DENSE_INL_H_
#undef DELTASERVE_KERNELS_CPU_DENSE_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_DENSE_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that rows padded to 16 floats need no tails.
using Floats = HWY_CAPPED(float, 16);
using FloatVec = hn::Vec<Floats>;

HWY_INLINE constexpr int lanes() {
  return static_cast<int>(HWY_LANES(float) < 16 ? HWY_LANES(float) : 16);
}

// A register tile: its sums, two vectors of b and a factor stay in registers.
inline constexpr int kTileColumns = HWY_TARGET <= HWY_AVX3 ? 32 : 16;
inline constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 12 : (HWY_LANES(float) >= 8 ? 6 : 3);

// c[r][:] = base[r][:] + sign * sum_k a[r][k] b[k][:] over `kVectors` vectors of columns, for kRows
// rows. Strides in floats. base may be c or null (zero).
template <int kRows, int kVectors, bool kSubtract>
HWY_INLINE void tile_product(const float* HWY_RESTRICT a, int64_t a_stride,
                             const float* HWY_RESTRICT b, int64_t b_stride, int64_t inner,
                             const float* base, float* c, int64_t c_stride) {
  const Floats d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = base == nullptr ? hn::Zero(d) : hn::LoadU(d, base + r * c_stride + v * lanes());
    }
  }
  for (int64_t k = 0; k < inner; ++k) {
    FloatVec row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + k * b_stride + v * lanes());
    for (int r = 0; r < kRows; ++r) {
      const FloatVec factor = hn::Set(d, a[r * a_stride + k]);
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = kSubtract ? hn::NegMulAdd(factor, row[v], sum[r][v])
                              : hn::MulAdd(factor, row[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, c + r * c_stride + v * lanes());
  }
}

template <int kRows, bool kSubtract>
HWY_INLINE void row_block_product(const float* a, int64_t a_stride, const float* b,
                                  int64_t b_stride, int64_t inner, int64_t columns, bool accumulate,
                                  float* c, int64_t c_stride) {
  int64_t j = 0;
  for (; j + kTileColumns <= columns; j += kTileColumns) {
    tile_product<kRows, kTileColumns / lanes(), kSubtract>(
        a, a_stride, b + j, b_stride, inner, accumulate ? c + j : nullptr, c + j, c_stride);
  }
  for (; j < columns; j += 16) {
    tile_product<kRows, 16 / lanes(), kSubtract>(a, a_stride, b + j, b_stride, inner,
                                                 accumulate ? c + j : nullptr, c + j, c_stride);
  }
}

// c [rows, columns] (+|-)= a [rows, inner] b [inner, columns]; columns a multiple of 16.
template <bool kSubtract = false>
HWY_NOINLINE void product(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                          int64_t rows, int64_t inner, int64_t columns, bool accumulate, float* c,
                          int64_t c_stride) {
  int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    row_block_product<kTileRows, kSubtract>(a + r * a_stride, a_stride, b, b_stride, inner, columns,
                                            accumulate, c + r * c_stride, c_stride);
  }
  for (; r < rows; ++r) {
    row_block_product<1, kSubtract>(a + r * a_stride, a_stride, b, b_stride, inner, columns,
                                    accumulate, c + r * c_stride, c_stride);
  }
}

// sum_i x[i] y[i], n a multiple of 16.
HWY_INLINE float dot(const float* HWY_RESTRICT x, const float* HWY_RESTRICT y, int64_t n) {
  const Floats d;
  FloatVec sum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += lanes()) {
    sum = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
