#include "kernels/cuda/features.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/activation.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;

// The work on a row is cut into runs of channels or gates, one a warp, that need nothing of each
// other: every query head, every key head, runs of value channels, runs of gates.
struct RowRuns {
  int keys;        // query and key heads
  int values;      // runs of value channels
  int value_run;   // channels of one
  int num_gates;   // elements; their kinds in the order below
  int decay;       // [decay_heads, decay_width], a time step with its beta
  int beta;        // [beta_heads], of an erase gate [beta_heads, key_dim]
  int lambda;      // [heads]
  int write_gate;  // [heads, value_dim]
  int precond;     // [precond_heads], decay and beta

  int count() const { return keys + values + (num_gates + simt::kWarp - 1) / simt::kWarp; }
};

RowRuns row_runs(const MixerCall& call, int value_run) {
  const MixerShape& shape = call.shape();
  const ProjectionLayout& at = call.layer.projection;
  RowRuns runs = {};
  runs.keys = shape.q_heads + shape.k_heads;
  runs.value_run = value_run;
  runs.values = (shape.v_columns() + value_run - 1) / value_run;
  if (at.decay >= 0) runs.decay = shape.decay_heads * shape.decay_width();
  const bool time_step = shape.decay_gate == DecayGate::kTimeStep;
  if (!time_step) runs.beta = shape.beta_heads * (shape.has_erase_gate() ? shape.key_dim : 1);
  if (at.lambda >= 0) runs.lambda = shape.heads;
  if (at.write_gate >= 0) runs.write_gate = shape.value_columns();
  runs.precond = shape.precond_heads;
  runs.num_gates = runs.decay + runs.beta + runs.lambda + runs.write_gate + runs.precond;
  return runs;
}

// A slot's convolution tail: the last conv_width - 1 raw rows of the sequence, zeros where it is
// shorter. Behind a segment these are its own rows and what is left of those before. Of each
// channel, rows are renewed from the oldest on: they come from younger ones.
class ConvTail {
 public:
  DS_DEVICE ConvTail(const MixerCall& call, const Segment& segment)
      : call_(call),
        segment_(segment),
        length_(call.shape().conv_width - 1),
        rows_(length_ > 0 ? call.states.part(call.states.layout.conv_tail, segment.slot)
                          : nullptr) {}

  DS_DEVICE int length() const { return length_; }
  DS_DEVICE float* row(int64_t j) const { return rows_ + j * call_.shape().channels(); }
  // What row j becomes.
  DS_DEVICE float next(int j, int channel) const {
    const int source = segment_.num_rows - length_ + j;  // row of the segment
    if (source >= 0) {
      return call_.projected_row(int64_t{segment_.first_row} + source)[channel];
    }
    if (segment_.position + source < 0) return 0;
    return row(j + segment_.num_rows)[channel];
  }

 private:
  const MixerCall& call_;
  const Segment& segment_;
  int length_;
  float* rows_;
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
      each([&](float& x, int c) { x += weight[c] * in[c]; });
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

  // Over the whole run. Reached by all lanes.
  DS_DEVICE void normalise(FeatureNorm norm) {
    if (norm == FeatureNorm::kNone) return;
    float sum = 0;
    each([&](float& x, int) { sum += norm == FeatureNorm::kL2 ? x * x : x; });
    sum = simt::warp_sum(sum);
    float divisor = sum;
    if (norm == FeatureNorm::kL2) divisor = sqrtf(sum + 1e-6f);
    if (norm == FeatureNorm::kSumPlusEps) divisor = sum + 1e-4f;
    const float scale = 1.0f / divisor;
    each([&](float& x, int) { x *= scale; });
  }

  DS_DEVICE void store() {
    float* features = call_.feature_row(row_);
    each([&](float& x, int c) { features[c] = x; });
  }
  // Of the run's channels, whose features are done.
  DS_DEVICE void update_tail() {
    const ConvTail tail(call_, segment_);
    for (int j = 0; j < tail.length(); ++j) {
      each([&](float& x, int c) { x = tail.next(j, c); });
      each([&](float& x, int c) { tail.row(j)[c] = x; });
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

// Head `head` of the queries and, behind them, the keys.
template <int kLane>
DS_DEVICE void key_features(const MixerCall& call, const Segment& segment, int row, int head,
                            bool decode) {
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
  run.store();
  if (decode) run.update_tail();
}

template <int kLane>
DS_DEVICE void value_features(const MixerCall& call, const Segment& segment, int row, int first,
                              int count, bool decode) {
  const MixerShape& shape = call.shape();
  const int keys = shape.q_columns() + shape.k_columns();
  ChannelRun<kLane> run(call, segment, row, keys + first, count);
  if (shape.conv_width > 0) {
    run.convolve();
  } else {
    run.load(call.projected_row(row) + call.layer.projection.v + first);
  }
  run.activate(shape.v_activation);
  run.store();
  if (decode) run.update_tail();
}

DS_DEVICE float log_decay_of(const MixerCall& call, float rate, float logit) {
  const MixerShape& shape = call.shape();
  switch (shape.decay_gate) {
    case DecayGate::kBoundedSigmoid: return shape.decay_bound * sigmoid(rate * logit);
    case DecayGate::kLogSigmoid: {  // log(sigmoid(x)) = -softplus(-x)
      const float log_decay = -1.0f / 16 * softplus(-logit);
      return log_decay < shape.decay_bound ? shape.decay_bound : log_decay;
    }
    case DecayGate::kNone: return 0;
    default: return -rate * softplus(logit);
  }
}

// Element `e` of [decay_heads, decay_width].
DS_DEVICE void decay_gate(const MixerCall& call, const float* in, float* gates, int e) {
  const MixerShape& shape = call.shape();
  const MixerWeights& w = call.weights;
  const int head = e / shape.decay_width();
  const float rate = w.a_log == nullptr ? 1.0f : expf(w.a_log[head]);
  const float logit =
      in[call.layer.projection.decay + e] + (w.dt_bias == nullptr ? 0.0f : w.dt_bias[e]);
  float* g = gates + call.gate_layout.g + e;
  if (shape.decay_gate != DecayGate::kTimeStep) {
    *g = log_decay_of(call, rate, logit);
    return;
  }
  float step = softplus(logit);
  if (step < shape.time_step_min) step = shape.time_step_min;
  if (step > shape.time_step_max) step = shape.time_step_max;
  gates[call.gate_layout.beta + e] = step;
  *g = -rate * step;
}

DS_DEVICE void beta_gate(const MixerCall& call, const float* in, float* gates, int e) {
  const MixerShape& shape = call.shape();
  const int column = call.layer.projection.beta;
  const int64_t to = shape.has_erase_gate() ? call.gate_layout.erase_gate : call.gate_layout.beta;
  gates[to + e] = column < 0 ? shape.gate_factor : shape.gate_factor * sigmoid(in[column + e]);
}

DS_DEVICE void precond_gates(const MixerCall& call, const float* in, float* gates, int e) {
  const ProjectionLayout& at = call.layer.projection;
  const MixerWeights& w = call.weights;
  gates[call.gate_layout.precond_g + e] =
      log_decay(in[at.precond_decay + e], w.precond_a_log[e], w.precond_dt_bias[e]);
  gates[call.gate_layout.precond_beta + e] = sigmoid(in[at.precond_beta + e]);
}

// Element `e` of all gates of the row.
DS_DEVICE void compute_gate(const MixerCall& call, const RowRuns& runs, int row, int e) {
  const MixerShape& shape = call.shape();
  const ProjectionLayout& at = call.layer.projection;
  const GateLayout& to = call.gate_layout;
  const float* in = call.projected_row(row);
  float* gates = call.gate_row(row);
  if (e < runs.decay) return decay_gate(call, in, gates, e);
  e -= runs.decay;
  if (e < runs.beta) return beta_gate(call, in, gates, e);
  e -= runs.beta;
  if (e < runs.lambda) {
    gates[to.lambda + e] = shape.gate_factor * sigmoid(in[at.lambda + e] - shape.lambda_bias);
    return;
  }
  e -= runs.lambda;
  if (e < runs.write_gate) {
    gates[to.write_gate + e] = sigmoid(in[at.write_gate + e]);
    return;
  }
  e -= runs.write_gate;
  if (e < runs.precond) precond_gates(call, in, gates, e);
}

// grid [rows, blocks of runs]
template <int kLane>
DS_KERNEL void DS_BOUNDS(kThreads, kLane <= 8 ? 8 : 4)
    features_kernel(LayerCall call, RowRuns runs) {
  const int row = simt::block_index().x;
  const Segment segment = call.segment_of_row(row);
  if (segment.slot < 0) return;
  const bool decode = call.row_segments[row] < call.mixer.step.num_decode;
  int run = simt::block_index().y * kWarps + simt::warp_index();
  if (run < runs.keys) return key_features<kLane>(call.mixer, segment, row, run, decode);
  run -= runs.keys;
  if (run < runs.values) {
    const int first = run * runs.value_run;
    const int left = call.mixer.shape().v_columns() - first;
    return value_features<kLane>(call.mixer, segment, row, first,
                                 left < runs.value_run ? left : runs.value_run, decode);
  }
  run -= runs.values;
  compute_gate(call.mixer, runs, row, run * simt::kWarp + simt::lane_index());
}

// grid [prefill segments, blocks of channels]
DS_KERNEL void DS_BOUNDS(kThreads, 1) conv_tails_kernel(LayerCall call) {
  const StepView& step = call.mixer.step;
  const Segment segment = step.segments[step.num_decode + simt::block_index().x];
  const int channel = simt::block_index().y * kThreads + simt::thread_index();
  if (segment.slot < 0 || channel >= call.mixer.shape().channels()) return;
  const ConvTail tail(call.mixer, segment);
  for (int j = 0; j < tail.length(); ++j) tail.row(j)[channel] = tail.next(j, channel);
}

template <int kLane>
void launch_runs(simt::Stream stream, const LayerCall& call) {
  const RowRuns runs = row_runs(call.mixer, simt::kWarp * std::min(kLane, 8));
  const simt::Grid grid = {call.mixer.step.num_rows, (runs.count() + kWarps - 1) / kWarps, 1};
  simt::launch(stream, grid, kThreads, 0, features_kernel<kLane>, call, runs);
}

}  // namespace

void launch_features(simt::Stream stream, const LayerCall& call) {
  const int key_dim = call.mixer.shape().key_dim;
  DS_CHECK(key_dim <= kMaxFeatureKeyDim);
  if (key_dim <= 4 * simt::kWarp) return launch_runs<4>(stream, call);
  if (key_dim <= 8 * simt::kWarp) return launch_runs<8>(stream, call);
  launch_runs<kMaxFeatureKeyDim / simt::kWarp>(stream, call);
}

void launch_conv_tails(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  if (shape.conv_width <= 1) return;
  const simt::Grid grid = {call.num_prefill(), (shape.channels() + kThreads - 1) / kThreads, 1};
  simt::launch(stream, grid, kThreads, 0, conv_tails_kernel, call);
}

}  // namespace deltaserve::cuda
