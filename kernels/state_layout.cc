#include "kernels/state_layout.h"

namespace deltaserve {

StateLayout StateLayout::of(const MixerShape& shape, int64_t num_layers, Dtype state_dtype) {
  StateLayout layout;
  layout.state_dtype = state_dtype;
  const auto take = [&layout](int64_t count) {
    const StatePart part{layout.floats, count};
    layout.floats += padded_to_16(count);
    return part;
  };
  const int64_t key_stride = padded_to_16(shape.key_dim);
  const QueryConditioning& ccq = shape.conditioning;
  const bool counts = ccq.on && ccq.normaliser == QueryConditioning::Normaliser::kMean;
  layout.layers.resize(static_cast<size_t>(num_layers));
  for (LayerStateLayout& layer : layout.layers) {
    const int64_t elements = int64_t{shape.heads} * shape.value_dim * key_stride;
    layer.state = take(state_dtype == Dtype::kBf16 ? elements / 2 : elements);
    layer.conv_tail =
        take(shape.conv_width > 1 ? int64_t{shape.channels()} * (shape.conv_width - 1) : 0);
    layer.squares = take(shape.precond_heads * key_stride);
    layer.key_sum = take(shape.normalised ? shape.heads * key_stride : 0);
    layer.covariance = take(ccq.on ? int64_t{shape.heads} * shape.key_dim * key_stride : 0);
    layer.key_count = take(counts ? shape.heads * padded_to_16(shape.count_width()) : 0);
    layer.key_mean = take(ccq.on && ccq.has_mean() ? shape.heads * key_stride : 0);
  }
  return layout;
}

}  // namespace deltaserve
