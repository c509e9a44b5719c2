#include "tests/kernels/program/layer_world.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace deltaserve {

using reference::LayerState;
using reference::Vec;

void for_each_float(const MixerShape& shape, const LayerStateLayout& layout, LayerState& state,
                    const std::function<void(int64_t, double&)>& visit) {
  const int64_t K = shape.key_dim;
  const int64_t stride = padded_to_16(K);
  const auto row = [&](const StateSpan& part, int64_t first, Vec& x) {
    for (int64_t i = 0; part.floats > 0 && i < static_cast<int64_t>(x.size()); ++i) {
      visit(part.offset + first + i, x[i]);
    }
  };
  const auto transposed = [&](const StateSpan& part, int64_t first, Vec& x, int64_t columns) {
    for (int64_t i = 0; part.floats > 0 && i < static_cast<int64_t>(x.size()); ++i) {
      visit(part.offset + first + i % columns * stride + i / columns, x[i]);
    }
  };
  for (int64_t h = 0; h < shape.heads; ++h) {
    transposed(layout.state, h * shape.value_dim * stride, state.s[h], shape.value_dim);
  }
  // The oldest row stands where the next token's goes.
  const int64_t channels = shape.channels();
  for (int64_t i = 0; i < static_cast<int64_t>(state.conv_rows.size()); ++i) {
    const int64_t ring_row = (state.tokens + i / channels) % shape.conv_width;
    visit(layout.conv_rows.offset + ring_row * channels + i % channels, state.conv_rows[i]);
  }
  for (int64_t h = 0; h < shape.precond_heads; ++h) {
    row(layout.squares, h * stride, state.squares[h]);
  }
  for (int64_t h = 0; shape.normalised && h < shape.heads; ++h) {
    row(layout.key_sum, h * stride, state.key_sum[h]);
  }
  for (int64_t h = 0; shape.conditioning.on && h < shape.heads; ++h) {
    reference::Covariance& covariance = state.covariance[h];
    transposed(layout.covariance, h * K * stride, covariance.p, K);
    row(layout.key_count, h * padded_to_16(shape.count_width()), covariance.z);
    row(layout.key_mean, h * stride, covariance.m);
  }
}

bool same_state(const LayerStateLayout& layout, const float* a, const float* b) {
  for (const StateSpan& part : {layout.state, layout.conv_rows, layout.squares, layout.key_sum,
                                layout.covariance, layout.key_count, layout.key_mean}) {
    const auto bytes = static_cast<size_t>(part.floats) * sizeof(float);
    if (std::memcmp(a + part.offset, b + part.offset, bytes) != 0) return false;
  }
  return true;
}

World::World(const LayerCase& c)
    : weights_(c, 3), layout_(StateLayout::of(c.shape, kLayers)), slot_floats_(layout_.floats) {
  layer_.shape = c.shape;
  layer_.projection = make_projection(c);
  layer_.state = layout_.layers[1];
  before_.assign(static_cast<size_t>(kNumSlots * slot_floats_), NAN);
  for (int job = 0; job < kNumJobs; ++job) make_job(c, job);
}

void World::make_job(const LayerCase& c, int job) {
  const MixerShape& shape = layer_.shape;
  const ProjectionLayout& at = layer_.projection;
  const auto seed = static_cast<uint32_t>(100 + job);
  const auto run = [&](const Vec& rows, LayerState& state) {
    return mixer_layer(shape, at, weights_.exact(), rows, state);
  };
  LayerState state(shape);
  if (kJobs[job].history > 0) run(make_projected(c, at, kJobs[job].history, seed + 50), state);
  float* slot = before_.data() + slot_of(job) * slot_floats_;
  const LayerStateLayout& parts = state_layout();
  // The other layer's states and the other slots stay NaN.
  std::fill(slot + parts.state.offset, slot + layout_.floats, 0.0f);
  for_each_float(shape, parts, state, [&](int64_t i, double& x) {
    x = slot[i] = static_cast<float>(x);
    // A new sequence must not depend on what an earlier one left in the slot.
    if (kJobs[job].history == 0) slot[i] = NAN;
  });
  const Vec rows = make_projected(c, at, kJobs[job].rows, seed);
  projected_.emplace_back(rows.begin(), rows.end());
  truth_.push_back(run(rows, state));
  after_.push_back(state);
}

}  // namespace deltaserve
