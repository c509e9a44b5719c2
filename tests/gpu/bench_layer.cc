// Decode of one mixer layer between its projections: short convolution, norms, gates and the rule
// in one launch or by the passes, then the output norm.
#include <numeric>

#include "kernels/cuda/layer/decode_layer.h"
#include "kernels/cuda/layer/mixer_layer.h"
#include "tests/gpu/bench_device.h"

namespace deltaserve::gpu_bench {
namespace {

// A layer, `batch` projected rows, and states and segments for `sets` batches of sequences.
class Decode {
 public:
  Decode(cuda::Runtime& runtime, const MixerLayer& layer, int batch, int sets, StateFormat format)
      : layer_(layer),
        batch_(batch),
        layout_(StateLayout::of(layer.shape, 1, format)),
        gate_layout_(layer.shape),
        projected_(random(runtime, batch * int64_t{layer.projection.columns})),
        conv_(random(runtime, int64_t{layer.shape.conv_width} * layer.shape.channels())),
        vector_(random(runtime, layer.shape.value_columns())),
        features_(make_memory<float>(runtime, batch * layer.shape.channels())),
        gates_(make_memory<float>(runtime, batch * gate_layout_.floats)),
        out_(make_results<float>(runtime, batch * layer.shape.value_columns())),
        out_bf16_(make_memory<uint16_t>(runtime, batch * layer.shape.value_columns())),
        states_(make_memory<float>(runtime, int64_t{sets} * batch * layout_.floats)),
        segments_(upload(runtime, shuffled_segments(batch, sets))),
        row_segments_(upload(runtime, counted(batch))) {
    runtime.fill_zero(states_.get(), states_.bytes());
  }

  void launch(cuda::Runtime& runtime, int set, bool one_launch) const {
    MixerWeights weights = {};
    weights.conv = conv_.get();
    weights.a_log = weights.dt_bias = weights.norm = vector_.get();
    const MixerCall mixer = {
        layer_,
        weights,
        {nullptr, batch_, segments_.get() + set * batch_, batch_, batch_, batch_},
        projected_.get(),
        out_.get(),
        {states_.get(), layout_.floats, layout_.layers[0]},
        features_.get(),
        gates_.get(),
        nullptr,
        nullptr,
        gate_layout_};
    cuda::LayerPaths paths;
    paths.one_launch_decode = one_launch;
    cuda::run_mixer_layer(runtime.stream(), {mixer, row_segments_.get(), nullptr, 0, nullptr,
                                             out_bf16_.get(), paths});
  }
  std::vector<float> read_out(cuda::Runtime& runtime) const {
    return read(runtime, out_.get(), out_.size());
  }
  void clear_states(cuda::Runtime& runtime) { runtime.fill_zero(states_.get(), states_.bytes()); }

 private:
  static cuda::Memory<float> random(cuda::Runtime& runtime, int64_t count) {
    cuda::Memory<float> memory = make_memory<float>(runtime, count);
    fill_random(runtime, memory.get(), count, -0.5f, 0.5f);
    return memory;
  }
  static std::vector<int32_t> counted(int count) {
    std::vector<int32_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }

  MixerLayer layer_;
  int32_t batch_;
  StateLayout layout_;
  GateLayout gate_layout_;
  cuda::Memory<float> projected_, conv_, vector_, features_, gates_, out_;
  cuda::Memory<uint16_t> out_bf16_;
  cuda::Memory<float> states_;
  cuda::Memory<Segment> segments_;
  cuda::Memory<int32_t> row_segments_;
};

void decode(cuda::Runtime& runtime, const Effort& effort, const Limits& limits,
            const MixerLayer& layer, StateFormat format, int batch) {
  const MixerShape& shape = layer.shape;
  const auto wants = [&](bool one_launch) {
    return effort.wants(Name("decode-layer")
                            .add("path", one_launch ? "one-launch" : "passes")
                            .add("heads", shape.heads)
                            .add("key_dim", shape.key_dim)
                            .add("value_dim", shape.value_dim)
                            .add("state", state_format_name(format))
                            .add("batch", batch)
                            .text());
  };
  const bool wanted[] = {wants(false), wants(true)};
  if (!wanted[0] && !wanted[1]) return;
  const StateLayout layout = StateLayout::of(shape, 1, format);
  const size_t moved = layout.bytes() * static_cast<size_t>(batch);
  const int sets =
      effort.tiny ? 2 : static_cast<int>(std::clamp<size_t>(kBeyondCaches / moved, 1, 1024));
  Decode decode(runtime, layer, batch, sets, format);
  std::vector<float> results[2];
  for (const bool one_launch : {false, true}) {
    decode.clear_states(runtime);
    decode.launch(runtime, 0, one_launch);
    results[one_launch] = decode.read_out(runtime);
  }
  for (const bool one_launch : {false, true}) {
    if (!wanted[one_launch]) continue;
    const int calls = std::max(sets, effort.tiny ? 2 : 8);
    const Timing timing = time_calls(runtime, effort, calls, [&] {
      for (int i = 0; i < calls; ++i) decode.launch(runtime, i % sets, one_launch);
    });
    // Projections in, results out.
    const double bytes = batch * (decode_bytes(layout) + 4.0 * layer.projection.columns +
                                  6.0 * shape.value_columns());
    Line("decode layer")
        .add("path", one_launch ? "one launch" : "passes")
        .add("heads", shape.heads)
        .add("key_dim", shape.key_dim)
        .add("value_dim", shape.value_dim)
        .add("state", state_format_name(format))
        .add("batch", batch)
        .add(timing)
        .add("bytes", bytes)
        .add("of_update", bytes / timing.median / limits.update_bytes)
        .add("from_passes", difference(results[one_launch], results[0]))
        .print();
  }
}

}  // namespace

void bench_layer(cuda::Runtime& runtime, const Effort& effort, const Limits& limits) {
  if (effort.tiny)
    return decode(runtime, effort, limits, qdelta_layer(2, 32, 32), StateFormat::kF32, 2);
  for (const MixerLayer& layer : {qdelta_layer(6, 128, 256), qdelta_layer(6, 256, 512)}) {
    for (const StateFormat format : kAllStateFormats) {
      for (const int batch : {1, 2, 4, 8, 12, 16, 32, 128}) {
        decode(runtime, effort, limits, layer, format, batch);
      }
    }
  }
}

}  // namespace deltaserve::gpu_bench
