// Bytes of one sequence, fixed when a model is loaded. Everything a sequence carries from token to
// token lives in one slot, so that copying a sequence is one copy of `bytes`.
//
// A slot holds, layer after layer, what of this the mixer has:
//   state        float or bf16 [heads][value_dim][key_stride]  S transposed
//   conv tail    float [conv_width - 1][channels]           last raw q, k, v rows, oldest first
//   squares      float [precond_heads][key_stride]          A of a preconditioner
//   key sum      float [heads][key_stride]                  of normalised linear attention
//   covariance   float [heads][key_dim][key_stride]         P of a conditioned query, transposed
//   key count    float [heads][padded count_width]          what divides P
//   key mean     float [heads][key_stride]                  sum of keys, what centers P
// key_stride is key_dim padded to 16 floats. Padding is zero and stays zero.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/mixer_shape.h"

namespace deltaserve {

struct StatePart {
  int64_t offset = 0;  // in floats from the start of the slot
  int64_t floats = 0;  // its bytes / 4; 0 = the mixer has no such part
};

struct LayerStateLayout {
  StatePart state, conv_tail, squares, key_sum, covariance, key_count, key_mean;

  // All of them, from the first to the last.
  StatePart whole() const {
    return {state.offset, key_mean.offset + key_mean.floats - state.offset};
  }
};

struct StateLayout {
  std::vector<LayerStateLayout> layers;
  int64_t floats = 0;  // of one slot, a multiple of 16
  Dtype state_dtype = Dtype::kF32;

  // Of `num_layers` layers alike; `state_dtype` is kF32 or kBf16.
  static StateLayout of(const MixerShape& shape, int64_t num_layers,
                        Dtype state_dtype = Dtype::kF32);

  size_t bytes() const { return static_cast<size_t>(floats) * sizeof(float); }
};

// Rows of S^T are padded so that every row begins on a 64-byte boundary.
constexpr int64_t padded_to_16(int64_t n) {
  return (n + 15) / 16 * 16;
}

}  // namespace deltaserve
