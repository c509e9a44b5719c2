#include "kernels/program/state_layout.h"

#include "kernels/base/check.h"

namespace deltaserve {

namespace {

StatePart part_of(const char* name, StateFormat format, int64_t heads, int64_t rows,
                  int64_t columns, int64_t stride) {
  StatePart part;
  part.name = name;
  part.format = format;
  part.heads = static_cast<int32_t>(heads);
  part.rows = static_cast<int32_t>(rows);
  part.columns = static_cast<int32_t>(columns);
  part.stride = static_cast<int32_t>(stride);
  return part;
}

}  // namespace

StateSpan StateLayout::take(const char* name, StateFormat format, int64_t heads, int64_t rows,
                            int64_t columns, int64_t stride) {
  StatePart part = part_of(name, format, heads, rows, columns, stride);
  part.layer = static_cast<int32_t>(layers.size());
  part.offset = static_cast<int64_t>(bytes());
  const StateSpan span = {floats, part.bytes() / static_cast<int64_t>(sizeof(float))};
  if (span.floats > 0) parts.push_back(part);
  floats += padded_to_16(span.floats);
  return span;
}

void StateLayout::add_mixer(const MixerShape& shape, StateFormat format) {
  constexpr StateFormat kFloat = StateFormat::kF32;
  const int64_t key_stride = padded_to_16(shape.key_dim);
  const auto keys = [&](const char* name, int64_t heads) {
    return take(name, kFloat, heads, 1, shape.key_dim, key_stride);
  };
  const QueryConditioning& ccq = shape.conditioning;
  const bool counts = ccq.on && ccq.normaliser == QueryConditioning::Normaliser::kMean;
  const int64_t conv_rows = shape.conv_width > 1 ? shape.conv_width : 0;
  LayerStateLayout layer;
  layer.format = format;
  layer.state = take("state", format, shape.heads, shape.value_dim, shape.key_dim, key_stride);
  layer.conv_rows = take("conv rows", kFloat, 1, conv_rows, shape.channels(), shape.channels());
  layer.squares = keys("squares", shape.precond_heads);
  layer.key_sum = keys("key sum", shape.normalised ? shape.heads : 0);
  layer.covariance = take("covariance", kFloat, ccq.on ? shape.heads : 0, shape.key_dim,
                          shape.key_dim, key_stride);
  layer.key_count = take("key count", kFloat, counts ? shape.heads : 0, 1, shape.count_width(),
                         padded_to_16(shape.count_width()));
  layer.key_mean = keys("key mean", ccq.on && ccq.has_mean() ? shape.heads : 0);
  layers.push_back(layer);
}

void StateLayout::add_for_each_token(const char* name, StateFormat format, int64_t heads,
                                     int64_t columns) {
  DS_CHECK(!layers.empty());
  StatePart part = part_of(name, format, heads, 1, columns, columns);
  part.layer = static_cast<int32_t>(layers.size()) - 1;
  part.per = Per::kToken;
  part.offset = bytes_per_token();
  parts.push_back(part);
}

StateLayout StateLayout::of(const MixerShape& shape, int64_t num_layers, StateFormat format) {
  StateLayout layout;
  for (int64_t i = 0; i < num_layers; ++i) layout.add_mixer(shape, format);
  return layout;
}

int64_t StateLayout::bytes_per_token() const {
  int64_t sum = 0;
  for (const StatePart& part : parts) sum += part.per == Per::kToken ? part.bytes() : 0;
  return sum;
}

}  // namespace deltaserve
