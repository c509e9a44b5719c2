// Operands of the matmuls on the tensor core (simt::multiply_add): 16 outputs by 8 rows, weights as
// A, activations as B, so that eight rows of a decode step waste nothing.
//
// A lane loads 16 bytes, 8 neighbouring input features of one row, and gives them to two products:
// of 32 input features, lane pair p has 8 p .. 8 p + 7, the first four of which go into the first
// product. Both operands are permuted alike, so no fragment needs an exchange or a transposing
// load, and every kernel sums in the same order.
#pragma once
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {

inline constexpr int kOutTile = 16;  // A's rows
inline constexpr int kRowTile = 8;   // B's columns
inline constexpr int kDepth = 32;    // input features of one 16-byte load of each lane
inline constexpr int kLoad = 8;      // bf16 in it
inline constexpr int kSegmentLoads = kTensorSegment / kDepth;

DS_HOST_DEVICE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

DS_HOST_DEVICE int segments_of(const MatmulCall& call) {
  return static_cast<int>((call.w.stride + kTensorSegment - 1) / kTensorSegment);
}

// The outputs of a matmul stand in tiles of 16. With a gate after it, the first 8 of a tile are
// gates and the others what they multiply, so that both meet in one tile.
template <MatmulEnd kEnd>
DS_HOST_DEVICE int64_t tiled_outs(const MatmulCall& call) {
  return kEnd == MatmulEnd::kGate ? (call.w.rows / 2 + 7) / 8 * kOutTile : call.w.rows;
}
// Returns the column of the result to which an output in its tile belongs.
template <MatmulEnd kEnd>
DS_DEVICE int64_t result_column(int64_t out) {
  return kEnd == MatmulEnd::kGate ? out / kOutTile * 8 + out % 8 : out;
}
template <MatmulEnd kEnd>
DS_DEVICE int64_t result_columns(const MatmulCall& call) {
  return kEnd == MatmulEnd::kGate ? call.w.rows / 2 : call.w.rows;
}
// Returns the row of weights of an output. Outputs that are not there repeat the last one and are
// not stored.
template <MatmulEnd kEnd>
DS_DEVICE int64_t weight_row(const MatmulCall& call, int64_t out) {
  const int64_t columns = result_columns<kEnd>(call);
  const int64_t row = smaller(result_column<kEnd>(out), columns - 1);
  return kEnd == MatmulEnd::kGate && out % kOutTile >= 8 ? columns + row : row;
}

// Two products of 32 input features: `low`, `high` of outputs group and group + 8, `x` of row
// group, each the lane's 8 features.
DS_DEVICE void multiply_depth(const simt::Words4& low, const simt::Words4& high,
                              const simt::Words4& x, simt::MmaD& sum) {
  DS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const simt::MmaA a = {{{low.word[2 * half]},
                           {high.word[2 * half]},
                           {low.word[2 * half + 1]},
                           {high.word[2 * half + 1]}}};
    const simt::MmaB b = {{{x.word[2 * half]}, {x.word[2 * half + 1]}}};
    simt::multiply_add(a, b, sum);
  }
}

// The weights of 16 outputs and one segment, in the registers of a warp.
template <MatmulEnd kEnd>
class SegmentWeights {
 public:
  // Starts to load them from memory.
  DS_DEVICE void load(const MatmulCall& call, int64_t first_out, int segment) {
    first_k_ = int64_t{segment} * kTensorSegment;
    if (is_whole(call)) {
      load_weights<true>(call, first_out);
    } else {
      load_weights<false>(call, first_out);
    }
  }
  // sums += the segment's products, 8 rows a tile. x(i, tile, k): the lane's features of load i,
  // which are input features k to k + 7, of row group of the tile. before(k, sums) is called in
  // front of each load but the first; k is the first input feature of it.
  template <int kRowTiles, class X, class Before>
  DS_DEVICE void multiply(const X& x, const Before& before, simt::MmaD (&sums)[kRowTiles]) const {
    const int64_t lane_k = first_k_ + simt::lane_index() % 4 * kLoad;
    simt::Words4 next = x(0, 0, lane_k);  // it is on its way during the products in front of it
    DS_UNROLL
    for (int i = 0; i < kSegmentLoads; ++i) {
      if (i > 0) before(first_k_ + i * kDepth, sums);
      DS_UNROLL
      for (int tile = 0; tile < kRowTiles; ++tile) {
        const simt::Words4 own = next;
        const bool last = tile == kRowTiles - 1;
        const int load = last ? i + 1 : i;
        if (load < kSegmentLoads) next = x(load, last ? 0 : tile + 1, lane_k + load * kDepth);
        multiply_depth(w_[i][0], w_[i][1], own, sums[tile]);
      }
    }
  }
  // Returns true if no row ends inside the segment, so that no load depends on a condition.
  DS_DEVICE bool is_whole(const MatmulCall& call) const {
    return first_k_ + kTensorSegment <= call.w.stride;
  }

 private:
  template <bool kWhole>
  DS_DEVICE void load_weights(const MatmulCall& call, int64_t first_out) {
    const auto* weights = static_cast<const uint16_t*>(call.w.data);
    const int64_t out = first_out + simt::lane_index() / 4;
    const uint16_t* low = weights + weight_row<kEnd>(call, out) * call.w.stride;
    const uint16_t* high = weights + weight_row<kEnd>(call, out + 8) * call.w.stride;
    DS_UNROLL
    for (int i = 0; i < kSegmentLoads; ++i) {
      const int64_t k = first_k_ + i * kDepth + simt::lane_index() % 4 * kLoad;
      w_[i][0] = w_[i][1] = {};
      if (kWhole || k < call.w.stride) {
        w_[i][0] = simt::load_once(reinterpret_cast<const simt::Words4*>(low + k));
        w_[i][1] = simt::load_once(reinterpret_cast<const simt::Words4*>(high + k));
      }
    }
  }

  int64_t first_k_ = 0;
  simt::Words4 w_[kSegmentLoads][2];
};

}  // namespace deltaserve::cuda
