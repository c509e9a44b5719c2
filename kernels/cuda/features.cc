#include "kernels/cuda/features.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/feature_run.h"
#include "kernels/cuda/token_gates.h"

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

template <int kLane>
DS_DEVICE void key_features(const MixerCall& call, const Segment& segment, int row, int head,
                            bool decode) {
  ChannelRun<kLane> run = key_run<kLane>(call, segment, row, head);
  run.store(call.feature_row(row) + head * call.shape().key_dim);
  if (decode) run.update_tail();
}

template <int kLane>
DS_DEVICE void value_features(const MixerCall& call, const Segment& segment, int row, int first,
                              int count, bool decode) {
  ChannelRun<kLane> run = value_run<kLane>(call, segment, row, first, count);
  run.store(call.feature_row(row) + call.shape().q_columns() + call.shape().k_columns() + first);
  if (decode) run.update_tail();
}

// Element `e` of [decay_heads, decay_width].
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

// Element `e` of all gates of the row.
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

// grid [rows, blocks of runs]
template <int kLane>
DS_KERNEL void DS_BOUNDS(kThreads, kLane <= 8 ? 8 : 4)
    features_kernel(LayerCall call, RowRuns runs, int first_row) {
  simt::await_launches_before();
  const int row = first_row + simt::block_index().x;
  const Segment segment = call.segment_of_row(row);
  if (segment.write_slot < 0) return;
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
  simt::await_launches_before();
  const StepView& step = call.mixer.step;
  const Segment segment = step.segments[step.num_decode + simt::block_index().x];
  const int channel = simt::block_index().y * kThreads + simt::thread_index();
  if (segment.write_slot < 0 || channel >= call.mixer.shape().channels()) return;
  const ConvTail tail(call.mixer, segment);
  for (int j = 0; j < tail.length(); ++j) tail.next_row(j)[channel] = tail.next(j, channel);
}

template <int kLane>
void launch_runs(simt::Stream stream, const LayerCall& call, int first_row) {
  const RowRuns runs = row_runs(call.mixer, simt::kWarp * std::min(kLane, 8));
  const simt::Grid grid = {call.mixer.step.num_rows - first_row,
                           (runs.count() + kWarps - 1) / kWarps, 1};
  simt::launch(stream, grid, kThreads, 0, features_kernel<kLane>, call, runs, first_row);
}

}  // namespace

void launch_features(simt::Stream stream, const LayerCall& call, int first_row) {
  const int key_dim = call.mixer.shape().key_dim;
  DS_CHECK(key_dim <= kMaxCudaKeyDim);
  if (key_dim <= 4 * simt::kWarp) return launch_runs<4>(stream, call, first_row);
  if (key_dim <= 8 * simt::kWarp) return launch_runs<8>(stream, call, first_row);
  launch_runs<kMaxCudaKeyDim / simt::kWarp>(stream, call, first_row);
}

void launch_conv_tails(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  if (shape.conv_width <= 1) return;
  const simt::Grid grid = {call.num_prefill(), (shape.channels() + kThreads - 1) / kThreads, 1};
  simt::launch(stream, grid, kThreads, 0, conv_tails_kernel, call);
}

}  // namespace deltaserve::cuda
