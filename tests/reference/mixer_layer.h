// A whole mixer layer, literally, in double: from rows of the projections to the input of the
// output projection.
#pragma once
#include <vector>

#include "tests/reference/mixer_features.h"

namespace deltaserve::reference {

// Of one sequence after some tokens, as state_layout.h has it but without padding; one entry a
// head.
struct LayerState {
  explicit LayerState(const MixerShape& shape);

  Vec conv_tail;                       // [conv_width - 1, channels], oldest first
  std::vector<Vec> s;                  // [key_dim, value_dim]
  std::vector<Vec> squares;            // [key_dim], of preconditioner heads
  std::vector<Vec> key_sum;            // [key_dim]
  std::vector<Covariance> covariance;  // with all its vectors
};

// projected [rows, layout.columns] -> [rows, value_columns]; carries `state` on. All rows of one
// call are one segment, one row is a decode step: released Q-Delta tells them apart.
Vec mixer_layer(const MixerShape& shape, const ProjectionLayout& layout,
                const LayerWeights& weights, const Vec& projected, LayerState& state);

}  // namespace deltaserve::reference
