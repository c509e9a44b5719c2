// The names and shapes of the delta-rule family as its training code stores them: Gated DeltaNet
// and Q-Delta.
#pragma once
#include <string_view>
#include <vector>

#include "models/weights.h"

namespace deltaserve {

// One tensor of a layer and where it goes: to a field, or, as a block of the fused input
// projection, to a column.
struct LayerTensor {
  std::string_view name;  // below "model.layers.N."
  std::vector<int64_t> shape;
  std::string_view part;  // of TensorSpec
  HostMatrix LayerWeights::*field = nullptr;
  int32_t ProjectionLayout::*column = nullptr;
};

// In file order; blocks of the input projection in layout order.
std::vector<LayerTensor> delta_family_layer(const ModelConfig& config);

// A tensor that old checkpoints of the family hold and that no rule uses, below "model.layers.N.".
LayerTensor delta_family_unused(const ModelConfig& config);

}  // namespace deltaserve
