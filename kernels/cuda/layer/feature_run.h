// A run of channels of one row on its way from the projections to the operands of the rule: short
// convolution, activations, norms, in the registers of a warp.
#pragma once
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/layer/activation.h"
#include "kernels/program/mixer_call.h"

namespace deltaserve::cuda {

// A slot's convolution tail: the last conv_width - 1 raw rows of the sequence, zeros where it is
// shorter. Behind a segment these are its own rows and what is left of those before. Of each
// channel, rows are renewed from the oldest on: they come from younger ones, maybe of the same
// slot.
class ConvTail {
 public:
  DS_DEVICE ConvTail(const MixerCall& call, const Segment& segment)
      : call_(call),
        segment_(segment),
        length_(call.shape().conv_width - 1),
        rows_(rows_of(segment.read_slot)),
        next_rows_(rows_of(segment.write_slot)) {}

  DS_DEVICE int length() const { return length_; }
  DS_DEVICE const float* row(int64_t j) const { return rows_ + j * call_.shape().channels(); }
  DS_DEVICE float* next_row(int64_t j) const { return next_rows_ + j * call_.shape().channels(); }
  // Returns a channel of the next row j.
  DS_DEVICE float next(int j, int channel) const {
    const int source = segment_.num_rows - length_ + j;  // row of the segment
    if (source >= 0) {
      return call_.projected_row(int64_t{segment_.first_row} + source)[channel];
    }
    if (segment_.position + source < 0) return 0;
    return row(j + segment_.num_rows)[channel];
  }
  // Stores a channel of the tail behind the last grid point of a segment with a keep slot; all of
  // its rows are the segment's.
  DS_DEVICE void keep(int channel) const {
    const int64_t first = int64_t{segment_.first_row} + kept_rows(segment_) - length_;
    float* kept = rows_of(segment_.keep_slot) + channel;
    for (int j = 0; j < length_; ++j) {
      kept[j * int64_t{call_.shape().channels()}] = call_.projected_row(first + j)[channel];
    }
  }

 private:
  DS_DEVICE float* rows_of(int slot) const {
    return length_ > 0 ? call_.states.part(call_.states.layout.conv_tail, slot) : nullptr;
  }

  const MixerCall& call_;
  const Segment& segment_;
  int length_;
  const float* rows_;
  float* next_rows_;
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

  // Raw rows before the segment come from the slot's tail. Before the start of the sequence there
  // is nothing: those taps drop out.
  DS_DEVICE void convolve() {
    const int64_t channels = call_.shape().channels();
    const ConvTail tail(call_, segment_);
    const int before = tail.length();
    const int64_t at = row_ - segment_.first_row;
    const int64_t seen = segment_.position + at;
    for (int j = seen < before ? before - static_cast<int>(seen) : 0; j <= before; ++j) {
      const int64_t source = at - before + j;
      const float* in = source >= 0 ? call_.projected_row(segment_.first_row + source)
                                    : tail.row(source + before);
      const float* weight = call_.weights.conv + j * channels;
      each([&](float& x, int c) { x = fmaf(weight[c], in[c], x); });
    }
    const float* bias = call_.weights.conv_bias;
    if (bias != nullptr) each([&](float& x, int c) { x += bias[c]; });
  }

  // The projected columns themselves.
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
  // Updates the tail of the run's channels, whose features are done.
  DS_DEVICE void update_tail() {
    const ConvTail tail(call_, segment_);
    for (int j = 0; j < tail.length(); ++j) {
      each([&](float& x, int c) { x = tail.next(j, c); });
      each([&](float& x, int c) { tail.next_row(j)[c] = x; });
    }
  }

 private:
  // visit(value, channel of the features)
  template <class Visit>
  DS_DEVICE void each(const Visit& visit) {
    DS_UNROLL
    for (int i = 0; i < kLane; ++i) {
      const int c = i * simt::kWarp + simt::lane_index();
      if (c < count_) visit(x_[i], first_ + c);
    }
  }

  const MixerCall& call_;
  const Segment& segment_;
  int row_;
  int first_;
  int count_;
  float x_[kLane];
};

// The features of head `head` of the queries and, behind them, the keys. Reached by all lanes.
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
  run.activate(shape.feature_map);
  run.normalise(is_query ? shape.q_norm : shape.k_norm);
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
