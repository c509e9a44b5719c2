// Small dense matmuls on one thread, per Highway target. Every output element is one chain of
// multiply-adds over the inner index in order, so its bits do not depend on the number of rows and
// columns.

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

// A vector of at most 16 lanes, so that rows padded to 16 floats need no tails.
using Floats = HWY_CAPPED(float, 16);
using FloatVec = hn::Vec<Floats>;

HWY_INLINE constexpr int lanes() {
  return static_cast<int>(HWY_LANES(float) < 16 ? HWY_LANES(float) : 16);
}

template <int kMost, int kRows = 1, class Tile>
HWY_INLINE void row_tile(const Tile& tile, int64_t row, int64_t count) {
  if constexpr (kRows <= kMost) {
    if (count == kRows) {
      tile.template run<kRows>(row);
    } else {
      row_tile<kMost, kRows + 1>(tile, row, count);
    }
  }
}

// Calls tile.run<count>(row) for tiles of at most kMost rows and similar sizes: eight rows become
// four and four, not six and two.
template <int kMost, class Tile>
HWY_INLINE void for_row_tiles(const Tile& tile, int64_t num_rows) {
  if (num_rows <= kMost) {  // avoids the division
    if (num_rows > 0) row_tile<kMost>(tile, 0, num_rows);
    return;
  }
  const int64_t tiles = (num_rows + kMost - 1) / kMost;
  const int64_t few = num_rows / tiles;
  const int64_t larger = num_rows % tiles;  // tiles with one more row
  for (int64_t i = 0, row = 0; i < tiles; ++i) {
    const int64_t count = few + (i < larger ? 1 : 0);
    row_tile<kMost>(tile, row, count);
    row += count;
  }
}

// The largest number of rows of a register tile.
inline constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 12 : (HWY_LANES(float) >= 8 ? 6 : 3);
// The number of vectors of columns in a tile. With this number the sums, the vectors of b and a
// factor stay in registers, and with few rows there are still enough independent sums.
template <int kRows>
constexpr int kTileVectors = HWY_TARGET <= HWY_AVX3 ? (kRows <= 2   ? 8
                                                       : kRows <= 6 ? 4
                                                                    : 2)
                                                    : (kRows <= 2 ? 4 : 16 / lanes());

// c[r][:] = base[r][:] + sign * sum_k a[r][k] b[k][:] over `kVectors` vectors of columns, for kRows
// rows. Strides are in floats. base may be c or null (zero). Loops are unrolled by hand: GCC keeps
// arrays in memory that are indexed by anything but constants.
template <int kRows, int kVectors, bool kSubtract>
HWY_INLINE void tile_matmul(const float* HWY_RESTRICT a, int64_t a_stride,
                            const float* HWY_RESTRICT b, int64_t b_stride, int64_t inner,
                            const float* base, float* c, int64_t c_stride) {
  const Floats d;
  FloatVec sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = base == nullptr ? hn::Zero(d) : hn::LoadU(d, base + r * c_stride + v * lanes());
    }
  }
  for (int64_t k = 0; k < inner; ++k) {
    FloatVec row[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + k * b_stride + v * lanes());
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const FloatVec factor = hn::Set(d, a[r * a_stride + k]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = kSubtract ? hn::NegMulAdd(factor, row[v], sum[r][v])
                              : hn::MulAdd(factor, row[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, c + r * c_stride + v * lanes());
  }
}

struct DenseOperands {
  const float *a, *b;
  float* c;
  int64_t a_stride, b_stride, c_stride;
  int64_t inner, columns;
  bool accumulate;
};

template <bool kSubtract>
struct DenseTile {
  const DenseOperands& m;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    columns<kRows, kTileVectors<kRows>>(row, 0);
  }
  // Computes the columns from j on, in tiles of kVectors vectors, then of fewer.
  template <int kRows, int kVectors>
  HWY_INLINE void columns(int64_t row, int64_t j) const {
    for (; j + kVectors * lanes() <= m.columns; j += kVectors * lanes()) {
      float* const to = m.c + row * m.c_stride + j;
      tile_matmul<kRows, kVectors, kSubtract>(m.a + row * m.a_stride, m.a_stride, m.b + j,
                                              m.b_stride, m.inner, m.accumulate ? to : nullptr, to,
                                              m.c_stride);
    }
    if constexpr (kVectors * lanes() > 16) {
      if (j < m.columns) columns<kRows, kVectors / 2>(row, j);
    }
  }
};

// c [rows, columns] (+|-)= a [rows, inner] b [inner, columns]; columns a multiple of 16.
template <bool kSubtract = false>
HWY_NOINLINE void dense_matmul(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                               int64_t rows, int64_t inner, int64_t columns, bool accumulate,
                               float* c, int64_t c_stride) {
  const DenseOperands operands = {a,        b,     c,       a_stride,  b_stride,
                                  c_stride, inner, columns, accumulate};
  for_row_tiles<kTileRows>(DenseTile<kSubtract>{operands}, rows);
}

// to[j][i] = from[i][j] for i < rows, j < columns.
HWY_INLINE void transpose(const float* HWY_RESTRICT from, int64_t from_stride, int64_t rows,
                          int64_t columns, float* HWY_RESTRICT to, int64_t to_stride) {
  int64_t whole_rows = 0;
  int64_t whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  whole_rows = rows / 4 * 4;
  whole_columns = columns / 4 * 4;
  const hn::CappedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> pairs;
  for (int64_t i = 0; i < whole_rows; i += 4) {
    for (int64_t j = 0; j < whole_columns; j += 4) {
      const float* at = from + i * from_stride + j;
      const auto row0 = hn::LoadU(d, at);
      const auto row1 = hn::LoadU(d, at + from_stride);
      const auto row2 = hn::LoadU(d, at + 2 * from_stride);
      const auto row3 = hn::LoadU(d, at + 3 * from_stride);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
      float* out = to + j * to_stride + i;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + to_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d,
                 out + 2 * to_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d,
                 out + 3 * to_stride);
    }
  }
#endif
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
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
