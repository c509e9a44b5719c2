// Bytes of one sequence, fixed when a model is loaded. Everything a sequence carries from token to
// token lives in one slot, so that copying a sequence is one copy of `bytes`.
//
// A slot holds, layer after layer:
//   state      float [value_heads][value_dim][key_stride]   S transposed; key_stride pads key_dim
//   conv tail  float [conv_width - 1][channels]              last raw q, k, v rows, oldest first
// Padding is zero and stays zero.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace deltaserve {

struct LayerStateLayout {
  int64_t state_offset = 0;  // in floats from the start of the slot
  int64_t state_floats = 0;
  int64_t conv_offset = 0;
  int64_t conv_floats = 0;
};

struct StateLayout {
  std::vector<LayerStateLayout> layers;
  int64_t floats = 0;  // of one slot, a multiple of 16

  size_t bytes() const { return static_cast<size_t>(floats) * sizeof(float); }
};

// Rows of S^T are padded so that every row begins on a 64-byte boundary.
constexpr int64_t padded_to_16(int64_t n) {
  return (n + 15) / 16 * 16;
}

}  // namespace deltaserve
