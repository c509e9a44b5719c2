// The memory of one sequence, whose size is fixed when a model is loaded. Everything that a
// sequence carries from token to token is in one slot, so copying a sequence is one copy of
// `bytes`. A layout can also describe parts of which every token has its own (the keys and values
// of attention). No slot holds them; no mixer has them yet, and a backend refuses a program that
// has.
//
// A slot holds, layer after layer, those of these parts that the layer's mixer has:
//   state        StateFormat [heads][value_dim][key_stride]  S transposed
//   conv rows    float [conv_width][channels]               last raw q, k, v rows, a ring
//   squares      float [precond_heads][key_stride]          A of a preconditioner
//   key sum      float [heads][key_stride]                  of normalised linear attention
//   covariance   float [heads][key_dim][key_stride]         P of a conditioned query, transposed
//   key count    float [heads][padded count_width]          divisor of P
//   key mean     float [heads][key_stride]                  sum of keys that centers P
// key_stride is key_dim padded to 16 floats. The padding inside a part is zero and stays zero.
// Parts begin at multiples of 16 floats; nobody computes with what lies between two of them.
//
// The raw row of a position stands in row position mod conv_width of the ring, and rows that the
// sequence does not have yet are zero. So a token writes a row that no convolution of that token
// reads: blocks that share a head need not wait for each other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/base/state_format.h"
#include "kernels/program/mixer_shape.h"

namespace deltaserve {

// Says what the bytes of a slot mean: it grows with every change of their meaning that the parts'
// names and sizes do not show. Slots of different versions must not meet.
inline constexpr uint32_t kStateLayoutVersion = 2;

// Says what a part's size grows with.
enum class Per : uint8_t { kSequence, kToken };

// A part of a sequence's memory, as tools see it.
struct StatePart {
  const char* name = "";
  int32_t layer = 0;
  Per per = Per::kSequence;
  StateFormat format = StateFormat::kF32;
  int32_t heads = 0, rows = 0, columns = 0;
  int32_t stride = 0;  // columns including their padding
  int64_t offset = 0;  // bytes from the start of the slot, or of the token's parts

  // Returns the bytes for the sequence, or for each token.
  int64_t bytes() const {
    return int64_t{heads} * rows * stride * static_cast<int64_t>(state_format_size(format));
  }
};

// The position of a part in a slot, as kernels see it.
struct StateSpan {
  int64_t offset = 0;  // in floats from the start of the slot
  int64_t floats = 0;  // its bytes / 4; 0 = the mixer has no such part
};

// The parts of one layer. A layer without a mixer has none.
struct LayerStateLayout {
  StateSpan state, conv_rows, squares, key_sum, covariance, key_count, key_mean;
  StateFormat format = StateFormat::kF32;  // format of `state`; all other parts are float

  // Returns the span of all parts, from the first to the last.
  StateSpan whole() const {
    return {state.offset, key_mean.offset + key_mean.floats - state.offset};
  }
};

// The layout of a slot, made layer by layer.
struct StateLayout {
  std::vector<LayerStateLayout> layers;
  std::vector<StatePart> parts;  // parts of all layers, in order
  int64_t floats = 0;            // size of a slot: all parts per sequence; a multiple of 16

  // Returns the layout of `num_layers` layers of the same mixer.
  static StateLayout of(const MixerShape& shape, int64_t num_layers,
                        StateFormat format = StateFormat::kF32);

  // Appends the parts of one layer of this mixer.
  void add_mixer(const MixerShape& shape, StateFormat format);
  // Appends a layer that carries nothing.
  void add_empty() { layers.emplace_back(); }
  // Appends a part to the layer that was added last, of which each token has its own, [heads][1]
  // [columns].
  void add_for_each_token(const char* name, StateFormat format, int64_t heads, int64_t columns);

  size_t bytes() const { return static_cast<size_t>(floats) * sizeof(float); }
  // Returns the bytes that each further token adds.
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
