// Divides the work on a row between the projections and the rule, and computes all gates of a row.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/layer/token_gates.h"

namespace deltaserve::cuda {

// The work on a row is cut into independent runs of channels or gates, one per warp: every query
// head, every key head, runs of value channels, runs of gates.
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

inline RowRuns row_runs(const MixerCall& call, int value_run) {
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

// Writes the decay gates of element `e` of [decay_heads, decay_width].
DS_DEVICE void decay_gate(const MixerCall& call, const float* in, float* gates, int e) {
  const DecayGates gate = decay_gates(call, in, e);
  gates[call.gate_layout.g + e] = gate.g;
  if (call.shape().decay_gate == DecayGate::kTimeStep) gates[call.gate_layout.beta + e] = gate.beta;
}

DS_DEVICE void precond_gates(const MixerCall& call, const float* in, float* gates, int e) {
  const ProjectionLayout& at = call.layer.projection;
  const MixerWeights& w = call.weights;
  gates[call.gate_layout.precond_g + e] =
      log_decay(in[at.precond_decay + e], w.precond_a_log[e], w.precond_dt_bias[e]);
  gates[call.gate_layout.precond_beta + e] = sigmoid(in[at.precond_beta + e]);
}

// Writes element `e` of all gates of the row.
DS_DEVICE void compute_gate(const MixerCall& call, const RowRuns& runs, int row, int e) {
  const MixerShape& shape = call.shape();
  const GateLayout& to = call.gate_layout;
  const float* in = call.projected_row(row);
  float* gates = call.gate_row(row);
  if (e < runs.decay) return decay_gate(call, in, gates, e);
  e -= runs.decay;
  if (e < runs.beta) {
    gates[(shape.has_erase_gate() ? to.erase_gate : to.beta) + e] = beta_gate(call, in, e);
    return;
  }
  e -= runs.beta;
  if (e < runs.lambda) {
    gates[to.lambda + e] = lambda_gate(call, in, e);
    return;
  }
  e -= runs.lambda;
  if (e < runs.write_gate) {
    gates[to.write_gate + e] = write_gate(call, in, e);
    return;
  }
  e -= runs.write_gate;
  if (e < runs.precond) precond_gates(call, in, gates, e);
}

}  // namespace deltaserve::cuda
