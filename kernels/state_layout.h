// Bytes of one sequence, fixed when a model is loaded. Everything a sequence carries from token to
// token lives in one slot, so that copying a sequence is one copy of `bytes`.
//
// A slot holds, layer after layer, what of this the layer's mixer has:
//   state        StateFormat [heads][value_dim][key_stride]  S transposed
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

#include "kernels/base/state_format.h"
#include "kernels/mixer_shape.h"

namespace deltaserve {

// What a part grows with.
enum class Per : uint8_t { kSequence, kToken };

// A part of what a sequence carries, as tools see it.
struct StatePart {
  const char* name = "";
  int32_t layer = 0;
  Per per = Per::kSequence;
  StateFormat format = StateFormat::kF32;
  int32_t heads = 0, rows = 0, columns = 0;
  int32_t stride = 0;  // columns with their padding
  int64_t offset = 0;  // bytes from the start of the slot

  int64_t bytes() const {
    return int64_t{heads} * rows * stride * static_cast<int64_t>(state_format_size(format));
  }
};

// Where a part stands in a slot, as kernels see it.
struct StateSpan {
  int64_t offset = 0;  // in floats from the start of the slot
  int64_t floats = 0;  // its bytes / 4; 0 = the mixer has no such part
};

// The parts of one layer. A layer without a mixer has none.
struct LayerStateLayout {
  StateSpan state, conv_tail, squares, key_sum, covariance, key_count, key_mean;
  StateFormat format = StateFormat::kF32;  // of `state`; all others are float

  // All of them, from the first to the last.
  StateSpan whole() const {
    return {state.offset, key_mean.offset + key_mean.floats - state.offset};
  }
};

// The layout of a slot, made layer by layer.
struct StateLayout {
  std::vector<LayerStateLayout> layers;
  std::vector<StatePart> parts;  // of all layers, in order
  int64_t floats = 0;            // of one slot: of all parts per sequence; a multiple of 16

  // `num_layers` layers of the same mixer.
  static StateLayout of(const MixerShape& shape, int64_t num_layers,
                        StateFormat format = StateFormat::kF32);

  // The parts of a layer of this mixer, behind those of the layers before.
  void add_mixer(const MixerShape& shape, StateFormat format);
  // A layer that carries nothing.
  void add_empty() { layers.emplace_back(); }

  size_t bytes() const { return static_cast<size_t>(floats) * sizeof(float); }
  // What each further token adds.
  int64_t bytes_per_token() const;

 private:
  StateSpan take(const char* name, StateFormat format, int64_t heads, int64_t rows, int64_t columns,
                 int64_t stride);
};

// Rows of S^T are padded so that every row begins on a 64-byte boundary.
constexpr int64_t padded_to_16(int64_t n) {
  return (n + 15) / 16 * 16;
}

}  // namespace deltaserve
