#include "kernels/cuda/layer/features.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/layer/feature_run.h"
#include "kernels/cuda/layer/gate_runs.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;

// Returns true if features_kernel stores the segment's raw row, which it does for a single decode
// row. Rows that share a segment read the slot's raw rows side by side.
DS_DEVICE bool stores_own_row(const LayerCall& call, int segment) {
  return segment < call.mixer.step.num_decode && call.mixer.step.segments[segment].num_rows == 1;
}

// `stores`: the row is all of its segment, so that nobody else reads the slot's raw rows.
template <int kLane>
DS_DEVICE void key_features(const MixerCall& call, const Segment& segment, int row, int head,
                            bool stores) {
  ChannelRun<kLane> run = key_run<kLane>(call, segment, row, head);
  run.store(call.feature_row(row) + head * call.shape().key_dim);
  if (stores) run.store_raw_rows();
}

template <int kLane>
DS_DEVICE void value_features(const MixerCall& call, const Segment& segment, int row, int first,
                              int count, bool stores) {
  ChannelRun<kLane> run = value_run<kLane>(call, segment, row, first, count);
  run.store(call.feature_row(row) + call.shape().q_columns() + call.shape().k_columns() + first);
  if (stores) run.store_raw_rows();
}

// grid [rows, blocks of runs]
template <int kLane>
DS_KERNEL void DS_BOUNDS(kThreads, kLane <= 8 ? 8 : 4)
    features_kernel(LayerCall call, RowRuns runs, int first_row) {
  simt::await_launches_before();
  const int row = first_row + simt::block_index().x;
  const Segment segment = call.segment_of_row(row);
  if (segment.write_slot < 0) return;
  const bool stores = stores_own_row(call, call.row_segments[row]);
  int run = simt::block_index().y * kWarps + simt::warp_index();
  if (run < runs.keys) return key_features<kLane>(call.mixer, segment, row, run, stores);
  run -= runs.keys;
  if (run < runs.values) {
    const int first = run * runs.value_run;
    const int left = call.mixer.shape().v_columns() - first;
    return value_features<kLane>(call.mixer, segment, row, first,
                                 left < runs.value_run ? left : runs.value_run, stores);
  }
  run -= runs.values;
  compute_gate(call.mixer, runs, row, run * simt::kWarp + simt::lane_index());
}

// grid [segments from `first_segment` on, blocks of channels]
DS_KERNEL void DS_BOUNDS(kThreads, 1) raw_rows_kernel(LayerCall call, int first_segment) {
  simt::await_launches_before();
  const int index = first_segment + simt::block_index().x;
  const Segment segment = call.mixer.step.segments[index];
  const int channel = simt::block_index().y * kThreads + simt::thread_index();
  if (segment.write_slot < 0 || channel >= call.mixer.shape().channels()) return;
  if (stores_own_row(call, index)) return;
  const RawRows raw(call.mixer, segment);
  if (segment.keep_slot >= 0) raw.store(segment.keep_slot, kept_rows(segment), channel);
  raw.store(segment.write_slot, segment.num_rows, channel);
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

void launch_raw_rows(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  const StepView& step = call.mixer.step;
  const int first = step.num_decode == step.num_decode_rows ? step.num_decode : 0;
  if (shape.conv_width <= 1 || first == step.num_segments) return;
  const simt::Grid grid = {step.num_segments - first, (shape.channels() + kThreads - 1) / kThreads,
                           1};
  simt::launch(stream, grid, kThreads, 0, raw_rows_kernel, call, first);
}

}  // namespace deltaserve::cuda
