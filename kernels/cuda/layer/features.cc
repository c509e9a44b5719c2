#include "kernels/cuda/layer/features.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/layer/feature_run.h"
#include "kernels/cuda/layer/gate_runs.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;

// Returns true if features_kernel moves the segment's row into the convolution tail, which it does
// for a single decode row. Rows that share a segment read the tail side by side.
DS_DEVICE bool moves_own_tail(const LayerCall& call, int segment) {
  return segment < call.mixer.step.num_decode && call.mixer.step.segments[segment].num_rows == 1;
}

// `moves_tail`: the row is all of its segment, so that nobody else reads the tail of its channels.
template <int kLane>
DS_DEVICE void key_features(const MixerCall& call, const Segment& segment, int row, int head,
                            bool moves_tail) {
  ChannelRun<kLane> run = key_run<kLane>(call, segment, row, head);
  run.store(call.feature_row(row) + head * call.shape().key_dim);
  if (moves_tail) run.update_tail();
}

template <int kLane>
DS_DEVICE void value_features(const MixerCall& call, const Segment& segment, int row, int first,
                              int count, bool moves_tail) {
  ChannelRun<kLane> run = value_run<kLane>(call, segment, row, first, count);
  run.store(call.feature_row(row) + call.shape().q_columns() + call.shape().k_columns() + first);
  if (moves_tail) run.update_tail();
}

// grid [rows, blocks of runs]
template <int kLane>
DS_KERNEL void DS_BOUNDS(kThreads, kLane <= 8 ? 8 : 4)
    features_kernel(LayerCall call, RowRuns runs, int first_row) {
  simt::await_launches_before();
  const int row = first_row + simt::block_index().x;
  const Segment segment = call.segment_of_row(row);
  if (segment.write_slot < 0) return;
  const bool moves_tail = moves_own_tail(call, call.row_segments[row]);
  int run = simt::block_index().y * kWarps + simt::warp_index();
  if (run < runs.keys) return key_features<kLane>(call.mixer, segment, row, run, moves_tail);
  run -= runs.keys;
  if (run < runs.values) {
    const int first = run * runs.value_run;
    const int left = call.mixer.shape().v_columns() - first;
    return value_features<kLane>(call.mixer, segment, row, first,
                                 left < runs.value_run ? left : runs.value_run, moves_tail);
  }
  run -= runs.values;
  compute_gate(call.mixer, runs, row, run * simt::kWarp + simt::lane_index());
}

// grid [segments from `first_segment` on, blocks of channels]
DS_KERNEL void DS_BOUNDS(kThreads, 1) conv_tails_kernel(LayerCall call, int first_segment) {
  simt::await_launches_before();
  const int index = first_segment + simt::block_index().x;
  const Segment segment = call.mixer.step.segments[index];
  const int channel = simt::block_index().y * kThreads + simt::thread_index();
  if (segment.write_slot < 0 || channel >= call.mixer.shape().channels()) return;
  if (moves_own_tail(call, index)) return;
  const ConvTail tail(call.mixer, segment);
  if (segment.keep_slot >= 0) tail.keep(channel);
  for (int j = 0; j < tail.length(); ++j) tail.next_row(j)[channel] = tail.next(j, channel);
}

template <int kLane>
void launch_runs(simt::Stream stream, const LayerCall& call, int first_row, int end_row) {
  const RowRuns runs = row_runs(call.mixer, simt::kWarp * std::min(kLane, 8));
  const simt::Grid grid = {end_row - first_row, (runs.count() + kWarps - 1) / kWarps, 1};
  simt::launch(stream, grid, kThreads, 0, features_kernel<kLane>, call, runs, first_row);
}

}  // namespace

void launch_features(simt::Stream stream, const LayerCall& call, int first_row, int end_row) {
  const int key_dim = call.mixer.shape().key_dim;
  DS_CHECK(key_dim <= kMaxKeyDim);
  if (key_dim <= 4 * simt::kWarp) return launch_runs<4>(stream, call, first_row, end_row);
  if (key_dim <= 8 * simt::kWarp) return launch_runs<8>(stream, call, first_row, end_row);
  launch_runs<kMaxKeyDim / simt::kWarp>(stream, call, first_row, end_row);
}

void launch_conv_tails(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  const StepView& step = call.mixer.step;
  const int first = step.num_decode == step.num_decode_rows ? step.num_decode : 0;
  if (shape.conv_width <= 1 || first == step.num_segments) return;
  const simt::Grid grid = {step.num_segments - first, (shape.channels() + kThreads - 1) / kThreads,
                           1};
  simt::launch(stream, grid, kThreads, 0, conv_tails_kernel, call, first);
}

}  // namespace deltaserve::cuda
