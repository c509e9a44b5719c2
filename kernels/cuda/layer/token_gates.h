// The gates of one token from its projections `in`, element by element. See GateLayout.
#pragma once
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/mixer/gates.h"
#include "kernels/program/mixer_call.h"

namespace deltaserve::cuda {

struct DecayGates {
  float g;
  float beta;  // of a time step
};

// Returns the decay gates of element `e` of [decay_heads, decay_width].
DS_DEVICE DecayGates decay_gates(const MixerCall& call, const float* in, int e) {
  const MixerShape& shape = call.shape();
  const MixerWeights& w = call.weights;
  const int head = e / shape.decay_width();
  const float rate = w.a_log == nullptr ? 1.0f : expf(w.a_log[head]);
  const float logit =
      in[call.layer.projection.decay + e] + (w.dt_bias == nullptr ? 0.0f : w.dt_bias[e]);
  if (shape.decay_gate != DecayGate::kTimeStep) {
    return {log_decay_of(shape.decay_gate, shape.decay_bound, rate, logit), 0};
  }
  float step = softplus(logit);
  if (step < shape.time_step_min) step = shape.time_step_min;
  if (step > shape.time_step_max) step = shape.time_step_max;
  return {-rate * step, step};
}

// Returns beta of element `e` of [beta_heads], or, if the mixer has an erase gate, of [beta_heads,
// key_dim].
DS_DEVICE float beta_gate(const MixerCall& call, const float* in, int e) {
  const int column = call.layer.projection.beta;
  const float factor = call.shape().gate_factor;
  return column < 0 ? factor : factor * sigmoid(in[column + e]);
}

DS_DEVICE float lambda_gate(const MixerCall& call, const float* in, int head) {
  const float logit = in[call.layer.projection.lambda + head];
  return call.shape().gate_factor * sigmoid(logit - call.shape().lambda_bias);
}

// Returns the write gate of element `e` of [heads, value_dim].
DS_DEVICE float write_gate(const MixerCall& call, const float* in, int e) {
  return sigmoid(in[call.layer.projection.write_gate + e]);
}

}  // namespace deltaserve::cuda
