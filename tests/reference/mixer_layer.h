// Computes a whole mixer layer, literally, in double: the input of the output projection from rows
// of the projections.
#pragma once
#include <vector>

#include "tests/reference/mixer_features.h"

namespace deltaserve::reference {

// The state of one sequence after some tokens, as in state_layout.h but without padding; vectors
// have one entry per head.
struct LayerState {
  explicit LayerState(const MixerShape& shape);

  int64_t tokens = 0;                  // so far
  Vec conv_rows;                       // [conv_width, channels], the last ones, oldest first
  std::vector<Vec> s;                  // [key_dim, value_dim]
  std::vector<Vec> squares;            // [key_dim], of preconditioner heads
  std::vector<Vec> key_sum;            // [key_dim]
  std::vector<Covariance> covariance;  // with all its vectors
};

// Computes [rows, value_columns] from projected [rows, layout.columns] and updates `state`. All
// rows of one call are one segment, and a single row is a decode step: released Q-Delta differs
// between the two.
Vec mixer_layer(const MixerShape& shape, const ProjectionLayout& layout,
                const LayerWeights& weights, const Vec& projected, LayerState& state);

}  // namespace deltaserve::reference
