// Computes the operands of the rule from the projections of a token: convolution, feature maps,
// norms, gates.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/layer/mixer_passes.h"
#include "kernels/cpu/layer/rowwise.h"
#include "kernels/mixer/gates.h"

namespace deltaserve::cpu {
namespace {

constexpr int kMaxConvWidth = 16;

// Computes the convolution of row `i` of a segment over all channels. Raw rows before the segment
// come from the slot; taps before the start of the sequence are left out.
void convolve_row(const MixerCall& call, const Segment& segment, int64_t i) {
  const MixerShape& shape = call.shape();
  const int64_t channels = shape.channels();
  const int width = shape.conv_width;
  const auto missing = static_cast<int>(std::max<int64_t>(0, (width - 1) - (segment.position + i)));
  const float* inputs[kMaxConvWidth];
  for (int j = missing; j < width; ++j) {
    const int64_t source = i - (width - 1) + j;
    inputs[j] = source >= 0 ? call.projected_row(segment.first_row + source)
                            : call.raw_row(segment.write_slot, segment.position + source);
  }
  float* features = call.feature_row(segment.first_row + i);
  const auto range = [&](int64_t first, int64_t count, Activation act) {
    const float* rows[kMaxConvWidth];
    for (int j = missing; j < width; ++j) rows[j - missing] = inputs[j] + first;
    conv_row(rows, call.weights.conv + missing * channels + first, channels, width - missing,
             call.weights.conv_bias == nullptr ? nullptr : call.weights.conv_bias + first,
             act == Activation::kSilu, count, features + first);
    if (act != Activation::kSilu && act != Activation::kNone) {
      activate_row(act, features + first, count, features + first);
    }
  };
  const int64_t keys = shape.q_columns() + shape.k_columns();
  if (shape.qk_activation == shape.v_activation) {
    range(0, channels, shape.v_activation);
  } else {
    range(0, keys, shape.qk_activation);
    range(keys, channels - keys, shape.v_activation);
  }
}

void features_without_convolution(const MixerCall& call, int64_t row) {
  const MixerShape& shape = call.shape();
  const ProjectionLayout& at = call.layer.projection;
  const float* in = call.projected_row(row);
  float* features = call.feature_row(row);
  const int64_t keys = shape.q_columns() + shape.k_columns();
  if (shape.product_features) {
    multiply_row(in + at.q_left, in + at.q_right, shape.q_columns(), features);
    multiply_row(in + at.k_left, in + at.k_right, shape.k_columns(), features + shape.q_columns());
  } else {
    activate_row(shape.qk_activation, in + at.q, keys, features);
  }
  activate_row(shape.v_activation, in + at.v, shape.v_columns(), features + keys);
}

void map_and_normalise(const MixerShape& shape, float* features) {
  const int64_t keys = shape.q_columns() + shape.k_columns();
  if (shape.feature_map != Activation::kNone) {
    activate_row(shape.feature_map, features, keys, features);
  }
  for (int64_t h = 0; h < shape.q_heads + shape.k_heads; ++h) {
    feature_norm_row(h < shape.q_heads ? shape.q_norm : shape.k_norm, features + h * shape.key_dim,
                     shape.key_dim);
  }
}

void decay_gates(const MixerCall& call, const float* logits, float* gates) {
  const MixerShape& shape = call.shape();
  const MixerWeights& w = call.weights;
  const int64_t width = shape.decay_width();
  float* g = gates + call.gate_layout.g;
  float* beta = gates + call.gate_layout.beta;
  for (int64_t h = 0; h < shape.decay_heads; ++h) {
    const float rate = w.a_log == nullptr ? 1.0f : std::exp(w.a_log[h]);
    if (shape.decay_gate == DecayGate::kTimeStep) {
      beta[h] =
          std::clamp(softplus(logits[h] + w.dt_bias[h]), shape.time_step_min, shape.time_step_max);
      g[h] = -rate * beta[h];
    } else {
      const float* bias = w.dt_bias == nullptr ? nullptr : w.dt_bias + h * width;
      decay_gate_row(shape.decay_gate, logits + h * width, bias, rate, shape.decay_bound, width,
                     g + h * width);
    }
  }
}

void compute_gates(const MixerCall& call, int64_t row) {
  const MixerShape& shape = call.shape();
  const ProjectionLayout& at = call.layer.projection;
  const GateLayout& to = call.gate_layout;
  const float* in = call.projected_row(row);
  float* gates = call.gate_row(row);
  if (at.decay >= 0) decay_gates(call, in + at.decay, gates);
  if (at.beta >= 0 && shape.has_erase_gate()) {
    const int64_t n = int64_t{shape.beta_heads} * shape.key_dim;
    activate_row(Activation::kSigmoid, in + at.beta, n, gates + to.erase_gate);
    for (int64_t i = 0; i < n; ++i) gates[to.erase_gate + i] *= shape.gate_factor;
  } else if (at.beta >= 0) {
    for (int64_t h = 0; h < shape.beta_heads; ++h) {
      gates[to.beta + h] = shape.gate_factor * sigmoid(in[at.beta + h]);
    }
  } else if (shape.decay_gate != DecayGate::kTimeStep) {
    std::fill_n(gates + to.beta, shape.beta_heads, shape.gate_factor);
  }
  if (at.lambda >= 0) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      gates[to.lambda + h] = shape.gate_factor * sigmoid(in[at.lambda + h] - shape.lambda_bias);
    }
  }
  if (at.write_gate >= 0) {
    activate_row(Activation::kSigmoid, in + at.write_gate, shape.value_columns(),
                 gates + to.write_gate);
  }
  for (int64_t h = 0; h < shape.precond_heads; ++h) {
    gates[to.precond_g + h] = log_decay(in[at.precond_decay + h], call.weights.precond_a_log[h],
                                        call.weights.precond_dt_bias[h]);
    gates[to.precond_beta + h] = sigmoid(in[at.precond_beta + h]);
  }
}

}  // namespace

void compute_features(const MixerCall& call, const Segment& segment, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = segment.first_row + i;
    if (call.shape().conv_width > 0) {
      convolve_row(call, segment, i);
    } else {
      features_without_convolution(call, row);
    }
    map_and_normalise(call.shape(), call.feature_row(row));
    compute_gates(call, row);
  }
}

}  // namespace deltaserve::cpu
