#include "kernels/state_layout.h"

#include "models/model.h"

namespace deltaserve {

StateLayout state_layout(const ModelConfig& config) {
  const int64_t channels = 2 * config.key_columns() + config.value_columns();
  StateLayout layout;
  layout.layers.resize(static_cast<size_t>(config.num_layers));
  for (LayerStateLayout& layer : layout.layers) {
    layer.state_offset = layout.floats;
    layer.state_floats = config.value_columns() * padded_to_16(config.key_dim);
    layer.conv_offset = layer.state_offset + layer.state_floats;
    layer.conv_floats = config.conv_width > 1 ? channels * (config.conv_width - 1) : 0;
    layout.floats = padded_to_16(layer.conv_offset + layer.conv_floats);
  }
  return layout;
}

}  // namespace deltaserve
