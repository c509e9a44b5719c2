// A run of channels of one row on its way from the projections to the operands of the rule: short
// convolution, activations, norms, in the registers of a warp.
#pragma once
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/layer/activation.h"
#include "kernels/program/mixer_call.h"

namespace deltaserve::cuda {

// The raw q, k and v rows of a segment's sequence. A row is named by its distance from the
// segment's first one; the read slot has those before it (state_layout.h).
class RawRows {
 public:
  DS_DEVICE RawRows(const MixerCall& call, const Segment& segment)
      : call_(call),
        segment_(segment),
        width_(call.shape().conv_width),
        first_(width_ > 1 ? static_cast<int>(remainder(segment.position)) : 0) {}

  // Returns the row `source` in front of the segment, -conv_width < source < 0, [channels].
  DS_DEVICE const float* before(int source) const {
    const int row = first_ + source;
    return ring_row(segment_.read_slot, row < 0 ? row + width_ : row);
  }

  // Stores a channel of the conv_width rows that end with the segment's first `rows` in a slot;
  // zeros in front of the sequence. What the read slot has stays there.
  DS_DEVICE void store(int slot, int rows, int channel) const {
    if (width_ <= 1) return;
    for (int source = rows - width_; source < rows; ++source) {
      if (source < 0 && segment_.position + source >= 0 && slot == segment_.read_slot) continue;
      row_of(slot, source)[channel] = value(source, channel);
    }
  }
  // Does the same after the segment's only row, whose channel is `raw`.
  DS_DEVICE void store_one(float raw, int channel) const {
    const int slot = segment_.write_slot;
    if (slot != segment_.read_slot || segment_.position == 0) return store(slot, 1, channel);
    if (width_ > 1) row_of(slot, 0)[channel] = raw;
  }

 private:
  // Returns position % width_. A remainder of 64 bits would be a call on a GPU, which costs a
  // kernel the registers that it holds.
  DS_DEVICE uint32_t remainder(int64_t position) const {
    const auto width = static_cast<uint32_t>(width_);
    const auto high = static_cast<uint32_t>(static_cast<uint64_t>(position) >> 32);
    const uint32_t power = (UINT32_MAX % width + 1) % width;  // 2^32 % width
    return (high % width * power + static_cast<uint32_t>(position) % width) % width;
  }
  DS_DEVICE float* row_of(int slot, int source) const {
    return ring_row(slot, (first_ + source + width_) % width_);
  }
  DS_DEVICE float* ring_row(int slot, int row) const {
    return call_.states.part(call_.states.layout.conv_rows, slot) +
           int64_t{row} * call_.shape().channels();
  }
  DS_DEVICE float value(int source, int channel) const {
    if (source >= 0) return call_.projected_row(int64_t{segment_.first_row} + source)[channel];
    return segment_.position + source < 0 ? 0.0f : before(source)[channel];
  }

  const MixerCall& call_;
  const Segment& segment_;
  int width_;
  int first_;  // the ring's row of the segment's first row
};

// The convolution of a decode row takes these, which no launch of its step writes, so that they may
// be loaded ahead: the taps' weights, the raw rows in front of it. Taps that the convolution or the
// sequence does not have are zero.
template <int kLane>
struct EarlyTaps {
  static constexpr int kCount = 4;  // the last is the row's own

  float weight[kCount][kLane];
  float before[kCount - 1][kLane];
};

// A run of at most kWarp * kLane neighbouring channels of one row, held by a warp.
template <int kLane>
class ChannelRun {
 public:
  DS_DEVICE ChannelRun(const MixerCall& call, const Segment& segment, int row, int first, int count)
      : call_(call), segment_(segment), row_(row), first_(first), count_(count) {
    DS_UNROLL
    for (int i = 0; i < kLane; ++i) x_[i] = 0;
  }

  // Raw rows before the segment come from the slot. Before the start of the sequence there is
  // nothing: those taps drop out.
  DS_DEVICE void convolve() {
    const int64_t channels = call_.shape().channels();
    const RawRows raw(call_, segment_);
    const int before = call_.shape().conv_width - 1;
    const int at = row_ - segment_.first_row;
    const int64_t seen = segment_.position + at;
    for (int j = seen < before ? before - static_cast<int>(seen) : 0; j <= before; ++j) {
      const int source = at - before + j;
      const float* in =
          source >= 0 ? call_.projected_row(segment_.first_row + source) : raw.before(source);
      const float* weight = call_.weights.conv + j * channels;
      each([&](float& x, int c) { x = fmaf(weight[c], in[c], x); });
    }
    add_bias();
  }

  // Loads what convolve(taps) takes, for the only row of a decode segment. The convolution has at
  // most EarlyTaps::kCount taps.
  DS_DEVICE void load_early(EarlyTaps<kLane>& taps) const {
    constexpr int kOwn = EarlyTaps<kLane>::kCount - 1;
    const int64_t channels = call_.shape().channels();
    const int width = call_.shape().conv_width;
    const RawRows raw(call_, segment_);
    DS_UNROLL
    for (int t = 0; t <= kOwn; ++t) {
      const int source = t - kOwn;
      const bool exists = -source < width && segment_.position + source >= 0;
      const float* weight = call_.weights.conv + (width - 1 + source) * channels;
      const float* row = exists && t < kOwn ? raw.before(source) : nullptr;
      each_channel([&](int i, int c) {
        taps.weight[t][i] = exists ? weight[c] : 0.0f;
        if (t < kOwn) taps.before[t][i] = row == nullptr ? 0.0f : row[c];
      });
    }
  }
  // Has the bits of convolve(). Stores the raw row for the tokens to come if `stores`.
  DS_DEVICE void convolve(const EarlyTaps<kLane>& taps, bool stores) {
    constexpr int kOwn = EarlyTaps<kLane>::kCount - 1;
    const float* in = call_.projected_row(row_);
    float own[kLane];
    each_channel([&](int i, int c) { own[i] = in[c]; });
    each_channel([&](int i, int) {
      DS_UNROLL
      for (int t = 0; t < kOwn; ++t) x_[i] = fmaf(taps.weight[t][i], taps.before[t][i], x_[i]);
      x_[i] = fmaf(taps.weight[kOwn][i], own[i], x_[i]);
    });
    add_bias();
    if (!stores) return;
    const RawRows raw(call_, segment_);
    each_channel([&](int i, int c) { raw.store_one(own[i], c); });
  }

  // Takes the projected columns as they are.
  DS_DEVICE void load(const float* in) {
    each([&](float& x, int c) { x = in[c - first_]; });
  }
  DS_DEVICE void load_product(const float* left, const float* right) {
    each([&](float& x, int c) { x = left[c - first_] * right[c - first_]; });
  }

  DS_DEVICE void activate(Activation activation) {
    if (activation == Activation::kNone) return;
    each([&](float& x, int) { x = cuda::activate(activation, x); });
  }

  // Normalises the whole run. All lanes must call this.
  DS_DEVICE void normalise(FeatureNorm norm) {
    if (norm == FeatureNorm::kNone) return;
    float sum = 0;
    each([&](float& x, int) { sum = norm == FeatureNorm::kL2 ? fmaf(x, x, sum) : sum + x; });
    sum = simt::warp_sum(sum);
    float divisor = sum;
    if (norm == FeatureNorm::kL2) divisor = sqrtf(sum + kL2NormEps);
    if (norm == FeatureNorm::kSumPlusEps) divisor = sum + kSumNormEps;
    const float scale = 1.0f / divisor;
    each([&](float& x, int) { x *= scale; });
  }

  // to[i] = the run's channel i
  DS_DEVICE void store(float* to) {
    each([&](float& x, int c) { to[c - first_] = x; });
  }
  // Stores the raw rows of the run's channels after the segment, whose features are done.
  DS_DEVICE void store_raw_rows() const {
    const RawRows raw(call_, segment_);
    each_channel([&](int, int c) { raw.store(segment_.write_slot, segment_.num_rows, c); });
  }

 private:
  DS_DEVICE void add_bias() {
    const float* bias = call_.weights.conv_bias;
    if (bias != nullptr) each([&](float& x, int c) { x += bias[c]; });
  }

  // visit(place in the lane, channel of the features)
  template <class Visit>
  DS_DEVICE void each_channel(const Visit& visit) const {
    DS_UNROLL
    for (int i = 0; i < kLane; ++i) {
      const int c = i * simt::kWarp + simt::lane_index();
      if (c < count_) visit(i, first_ + c);
    }
  }
  // visit(value, channel of the features)
  template <class Visit>
  DS_DEVICE void each(const Visit& visit) {
    each_channel([&](int i, int c) { visit(x_[i], c); });
  }

  const MixerCall& call_;
  const Segment& segment_;
  int row_;
  int first_;
  int count_;
  float x_[kLane];
};

// Applies what follows the activation of a query or key head. Reached by all lanes.
template <int kLane>
DS_DEVICE void finish_keys(const MixerShape& shape, bool is_query, ChannelRun<kLane>& run) {
  run.activate(shape.feature_map);
  run.normalise(is_query ? shape.q_norm : shape.k_norm);
}

// The features of head `head` of the queries and, after them, the keys. Reached by all lanes.
template <int kLane>
DS_DEVICE ChannelRun<kLane> key_run(const MixerCall& call, const Segment& segment, int row,
                                    int head) {
  const MixerShape& shape = call.shape();
  const ProjectionLayout& at = call.layer.projection;
  const int first = head * shape.key_dim;
  ChannelRun<kLane> run(call, segment, row, first, shape.key_dim);
  const bool is_query = head < shape.q_heads;
  if (shape.conv_width > 0) {
    run.convolve();
    run.activate(shape.qk_activation);
  } else if (shape.product_features) {
    const float* in = call.projected_row(row) + first - (is_query ? 0 : shape.q_columns());
    run.load_product(in + (is_query ? at.q_left : at.k_left),
                     in + (is_query ? at.q_right : at.k_right));
  } else {
    run.load(call.projected_row(row) + at.q + first);
    run.activate(shape.qk_activation);
  }
  finish_keys(shape, is_query, run);
  return run;
}

// The features of value channels [first, first + count).
template <int kLane>
DS_DEVICE ChannelRun<kLane> value_run(const MixerCall& call, const Segment& segment, int row,
                                      int first, int count) {
  const MixerShape& shape = call.shape();
  const int keys = shape.q_columns() + shape.k_columns();
  ChannelRun<kLane> run(call, segment, row, keys + first, count);
  if (shape.conv_width > 0) {
    run.convolve();
  } else {
    run.load(call.projected_row(row) + call.layer.projection.v + first);
  }
  run.activate(shape.v_activation);
  return run;
}

}  // namespace deltaserve::cuda
