#include "kernels/cuda/features.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/feature_run.h"
#include "kernels/cuda/gate_runs.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;

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
void launch_runs(simt::Stream stream, const LayerCall& call, int first_row, int end_row) {
  const RowRuns runs = row_runs(call.mixer, simt::kWarp * std::min(kLane, 8));
  const simt::Grid grid = {end_row - first_row, (runs.count() + kWarps - 1) / kWarps, 1};
  simt::launch(stream, grid, kThreads, 0, features_kernel<kLane>, call, runs, first_row);
}

}  // namespace

void launch_features(simt::Stream stream, const LayerCall& call, int first_row, int end_row) {
  const int key_dim = call.mixer.shape().key_dim;
  DS_CHECK(key_dim <= kMaxCudaKeyDim);
  if (key_dim <= 4 * simt::kWarp) return launch_runs<4>(stream, call, first_row, end_row);
  if (key_dim <= 8 * simt::kWarp) return launch_runs<8>(stream, call, first_row, end_row);
  launch_runs<kMaxCudaKeyDim / simt::kWarp>(stream, call, first_row, end_row);
}

void launch_conv_tails(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  if (shape.conv_width <= 1) return;
  const simt::Grid grid = {call.num_prefill(), (shape.channels() + kThreads - 1) / kThreads, 1};
  simt::launch(stream, grid, kThreads, 0, conv_tails_kernel, call);
}

}  // namespace deltaserve::cuda
