// Reads the parts of a state slot as plain arrays, in the order of the golden files.
#pragma once
#include <string>
#include <vector>

#include "kernels/program/state_layout.h"

namespace deltaserve {

// One layer of an exported slot. An absent part gives an empty array.
class LayerState {
 public:
  LayerState(const float* slot, const LayerStateLayout& layout, const MixerShape& shape)
      : slot_(slot), layout_(layout), shape_(shape) {}

  // Returns S [heads, key_dim, value_dim].
  std::vector<float> matrix() const {
    return transposed(layout_.state, shape_.heads, shape_.value_dim);
  }
  // Returns P [heads, key_dim, key_dim].
  std::vector<float> covariance() const {
    return transposed(layout_.covariance, shape_.heads, shape_.key_dim);
  }
  // Returns [rows, width] of rows that are padded to 16.
  std::vector<float> rows(const StateSpan& part, int64_t rows, int64_t width) const {
    std::vector<float> out;
    for (int64_t r = 0; part.floats > 0 && r < rows; ++r) {
      const float* row = slot_ + part.offset + r * padded_to_16(width);
      out.insert(out.end(), row, row + width);
    }
    return out;
  }
  // Returns the raw inputs of channels [first, first + count) behind `tokens` tokens of the
  // sequence, oldest first, [count, conv_width].
  std::vector<float> conv_rows(int64_t first, int64_t count, int64_t tokens) const {
    const float* ring = slot_ + layout_.conv_rows.offset;
    std::vector<float> out;
    for (int64_t c = first; c < first + count; ++c) {
      for (int64_t j = 0; j < shape_.conv_width; ++j) {
        out.push_back(ring[(tokens + j) % shape_.conv_width * shape_.channels() + c]);
      }
    }
    return out;
  }

 private:
  // Transposes [heads][columns][padded key_dim] to [heads, key_dim, columns].
  std::vector<float> transposed(const StateSpan& part, int64_t heads, int64_t columns) const {
    const int64_t stride = padded_to_16(shape_.key_dim);
    std::vector<float> out;
    for (int64_t h = 0; part.floats > 0 && h < heads; ++h) {
      for (int64_t k = 0; k < shape_.key_dim; ++k) {
        for (int64_t c = 0; c < columns; ++c) {
          out.push_back(slot_[part.offset + (h * columns + c) * stride + k]);
        }
      }
    }
    return out;
  }

  const float* slot_;
  const LayerStateLayout& layout_;
  const MixerShape& shape_;
};

}  // namespace deltaserve
