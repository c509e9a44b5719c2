// The kernels of matmuls on tensor cores share what comes before and after their sums: the
// factors of rows, and what becomes of a total. So their bits are equal.
#pragma once
#include <cmath>

#include "kernels/cuda/matmul/fragments.h"
#include "kernels/mixer/gates.h"

namespace deltaserve::cuda {

inline constexpr int kFactorBytes = 8;

// The factors of a block's rows, [rows][parts] in shared memory.
class BlockFactors {
 public:
  DS_DEVICE BlockFactors(const MatmulCall& call, float* at)
      : of_(call.factors),
        columns_(static_cast<int>(call.w.columns)),
        width_(columns_ / of_.parts),
        at_(at) {}

  // Computes those of rows rank, rank + step and on below `rows`, counted from the call's
  // `first_row`. A part's sums are added by 8 lanes, an eighth each in order, then as a tree.
  // Reached by all threads of the block; the next barrier makes the factors seen.
  DS_DEVICE void compute(int64_t first_row, int rank, int step, int rows) const {
    if (of_.squares == nullptr) return;
    constexpr int kLanes = 8;
    const int count = rows > rank ? (rows - rank + step - 1) / step * of_.parts : 0;
    const int share = (of_.groups + kLanes - 1) / kLanes;
    const int lane = simt::thread_index() % kLanes;
    for (int base = 0; base < count * kLanes; base += simt::block_threads()) {
      const int i = (base + simt::thread_index()) / kLanes;
      const int row = rank + step * (i / of_.parts);
      const int part = i % of_.parts;
      float sum[1] = {0};
      if (i < count) {
        const float* from = of_.squares + ((first_row + row) * of_.parts + part) * of_.groups;
        const int end = static_cast<int>(smaller(of_.groups, (lane + 1) * share));
        for (int g = lane * share; g < end; ++g) sum[0] += from[g];
      }
      simt::lanes_sum<kLanes>(sum);
      if (i < count && lane == 0) {
        const float mean = sum[0] / static_cast<float>(width_);
        float* at = at_ + kFloats * (row * of_.parts + part);
        at[1] = sqrtf(mean + of_.eps);
        at[0] = 1.0f / at[1];
      }
    }
  }

  // Returns the factor of a segment's sum.
  DS_DEVICE float of_segment(int row, int segment) const {
    if (of_.squares == nullptr) return 1.0f;
    if (of_.parts == 1) return at_[kFloats * row];
    const int end = (segment + 1) * kTensorSegment;
    const int last = (end < columns_ ? end : columns_) - 1;
    return at_[kFloats * (row * of_.parts + last / width_)];
  }

  // A segment that several parts share is one chain all the same: where a part begins inside it,
  // the sum so far is multiplied by the quotient of the two factors.
  DS_DEVICE bool changes_at(int k) const {
    return of_.parts > 1 && k % kTensorSegment != 0 && k < columns_ && k % width_ == 0;
  }
  DS_DEVICE bool change_inside_segments() const {
    return of_.parts > 1 && width_ % kTensorSegment != 0;
  }
  // Does so for the sums of a warp, of which the first row is `first_row` of the block. Rows that
  // are not there get any number.
  template <int kRowTiles>
  DS_DEVICE void change_sums(int k, int first_row, simt::MmaD (&sums)[kRowTiles]) const {
    if (!changes_at(k)) return;
    const int first = first_row + simt::lane_index() % 4 * 2;
    const float* at = at_ + kFloats * (first * of_.parts + k / width_);
    DS_UNROLL
    for (int tile = 0; tile < kRowTiles; ++tile) {
      DS_UNROLL
      for (int i = 0; i < 2; ++i) {
        const float* next = at + kFloats * ((tile * kRowTile + i) * of_.parts);
        const float by = simt::rounded_product(next[-kFloats], next[1]);
        sums[tile].d[i] = simt::rounded_product(sums[tile].d[i], by);
        sums[tile].d[i + 2] = simt::rounded_product(sums[tile].d[i + 2], by);
      }
    }
  }

 private:
  static constexpr int kFloats = kFactorBytes / 4;  // a factor and what it divides by

  const RowFactors& of_;
  int columns_, width_;  // of a row, of a part
  float* at_;
};

// Returns the bytes of shared memory that they take.
inline int factor_bytes(const MatmulCall& call, int rows) {
  return call.factors.squares == nullptr ? 0 : rows * call.factors.parts * kFactorBytes;
}

// One output of one row after its sums. 16 neighbouring lanes have the 16 outputs of a tile.
template <MatmulEnd kEnd>
class OutputEnd {
 public:
  // Asks memory for what the total meets.
  DS_DEVICE OutputEnd(const MatmulCall& call, int64_t row, int64_t out, bool row_is_there)
      : call_(call), row_(row), column_(result_column<kEnd>(out)) {
    there_ = row_is_there && column_ < result_columns<kEnd>(call);
    if constexpr (kEnd == MatmulEnd::kNextNorm) {
      if (there_) {
        before_ = call.out[row * call.out_stride + column_];
        weight_ = call.next_norm[column_];
      }
    }
  }

  // Whole warps must call this.
  DS_DEVICE void store(float total) const {
    if constexpr (kEnd == MatmulEnd::kStore) {
      if (!there_) return;
      float& to = call_.out[row_ * call_.out_stride + column_];
      to = call_.accumulate ? to + total : total;
    } else if constexpr (kEnd == MatmulEnd::kNextNorm) {
      const float x = there_ ? before_ + total : 0.0f;
      float squares[1] = {simt::rounded_product(x, x)};
      simt::lanes_sum<kSquareGroup>(squares);
      if (!there_) return;
      call_.out[row_ * call_.out_stride + column_] = x;
      store_bf16(x * weight_);
      if (column_ % kSquareGroup == 0) {
        const int64_t groups = square_groups(call_.w.rows);
        call_.squares[row_ * groups + column_ / kSquareGroup] = squares[0];
      }
    } else {
      const float other = simt::exchange(total, 8);
      const bool is_gate = simt::lane_index() % kOutTile < 8;
      if (there_ && is_gate) store_bf16(silu(total) * other);
    }
  }

 private:
  DS_DEVICE void store_bf16(float value) const {
    call_.out_bf16[row_ * call_.out_bf16_stride + column_] = f32_to_bf16(value);
  }

  const MatmulCall& call_;
  int64_t row_, column_;
  bool there_ = false;
  float before_ = 0, weight_ = 0;
};

}  // namespace deltaserve::cuda
