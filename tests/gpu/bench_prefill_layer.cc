// Prefill of one mixer layer between its projections, whole and launch by launch.
#include "kernels/cuda/device/rows.h"
#include "kernels/cuda/layer/features.h"
#include "kernels/cuda/layer/mixer_layer.h"
#include "kernels/cuda/layer/output_norm.h"
#include "kernels/cuda/layer/prefill_features.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "kernels/cuda/rule/prefill_chain.h"
#include "kernels/cuda/rule/prefill_operands.h"
#include "tests/gpu/bench_device.h"

namespace deltaserve::gpu_bench {
namespace {

class Prefill {
 public:
  Prefill(cuda::Runtime& runtime, const MixerLayer& layer, int prompts, int tokens)
      : layer_(layer),
        rows_(prompts * tokens),
        layout_(StateLayout::of(layer.shape, 1, StateFormat::kF32)),
        gate_layout_(layer.shape),
        projected_(random(runtime, rows_ * int64_t{layer.projection.columns}, 0.5f)),
        conv_(random(runtime, int64_t{layer.shape.conv_width} * layer.shape.channels(), 0.5f)),
        vector_(random(runtime, layer.shape.value_columns(), 0.5f)),
        features_(make_memory<float>(runtime, rows_ * int64_t{layer.shape.channels()})),
        gates_(make_memory<float>(runtime, rows_ * gate_layout_.floats)),
        out_(make_memory<float>(runtime, rows_ * int64_t{layer.shape.value_columns()})),
        out_bf16_(make_memory<uint16_t>(runtime, rows_ * int64_t{layer.shape.value_columns()})),
        states_(make_memory<float>(runtime, prompts * layout_.floats)) {
    std::vector<Segment> segments;
    std::vector<cuda::Chunk> chunks;
    std::vector<int32_t> row_segments;
    for (int s = 0; s < prompts; ++s) {
      segments.push_back({RowKind::kPrefill, s, s, s * tokens, tokens, 0});
      for (int t = 0; t < tokens; t += kChunkTokens) {
        chunks.push_back({s, s * tokens + t, std::min(int{kChunkTokens}, tokens - t)});
      }
      row_segments.insert(row_segments.end(), static_cast<size_t>(tokens), s);
    }
    segments_ = upload(runtime, segments);
    chunks_ = upload(runtime, chunks);
    row_segments_ = upload(runtime, row_segments);
    scratch_ = make_memory<unsigned char>(runtime, static_cast<int64_t>(cuda::prefill_scratch_bytes(
                                                       layer.shape, std::ssize(chunks))));
    prompts_ = prompts;
    num_chunks_ = static_cast<int32_t>(std::ssize(chunks));
  }

  cuda::LayerCall call(cuda::PrefillPath path) const {
    MixerWeights weights = {};
    weights.conv = conv_.get();
    weights.a_log = weights.dt_bias = weights.norm = vector_.get();
    const MixerCall mixer = {
        layer_,           weights,      {nullptr, rows_, segments_.get(), prompts_, 0, 0},
        projected_.get(), out_.get(),   {states_.get(), layout_.floats, layout_.layers[0]},
        features_.get(),  gates_.get(), nullptr,
        nullptr,          gate_layout_};
    cuda::LayerPaths paths;
    paths.prefill = path;
    return {mixer,          row_segments_.get(), chunks_.get(), num_chunks_,
            scratch_.get(), out_bf16_.get(),     paths};
  }
  std::vector<float> result(cuda::Runtime& runtime, cuda::PrefillPath path) {
    fill_nan(runtime, out_.get(), out_.bytes());  // what is not written must show
    cuda::run_mixer_layer(runtime.stream(), call(path));
    return read(runtime, out_.get(), out_.size());
  }

 private:
  static cuda::Memory<float> random(cuda::Runtime& runtime, int64_t count, float most) {
    cuda::Memory<float> memory = make_memory<float>(runtime, count);
    fill_random(runtime, memory.get(), count, -most, most);
    return memory;
  }

  MixerLayer layer_;
  int32_t rows_;
  StateLayout layout_;
  GateLayout gate_layout_;
  cuda::Memory<float> projected_, conv_, vector_, features_, gates_, out_;
  cuda::Memory<uint16_t> out_bf16_;
  cuda::Memory<float> states_;
  cuda::Memory<Segment> segments_;
  cuda::Memory<cuda::Chunk> chunks_;
  cuda::Memory<int32_t> row_segments_;
  cuda::Memory<unsigned char> scratch_;
  int32_t prompts_ = 0;
  int32_t num_chunks_ = 0;
};

void prefill_layer(cuda::Runtime& runtime, const Effort& effort, MixerLayer layer, int prompts,
                   int tokens) {
  // The rows are padded like the backend's rows of projections.
  layer.projection.columns = static_cast<int32_t>(cuda::padded_to_64(layer.projection.columns));
  const std::vector<std::string> parts = {"layer",    "features", "operands",  "chain",
                                          "chain-32", "chain-64", "chain-128", "output-norm"};
  std::vector<std::string> wanted;
  for (const std::string& part : parts) {
    if (effort.wants(Name("prefill-layer")
                         .add("part", part)
                         .add("key_dim", layer.shape.key_dim)
                         .add("value_dim", layer.shape.value_dim)
                         .add("prompts", prompts)
                         .add("tokens", tokens)
                         .text())) {
      wanted.push_back(part);
    }
  }
  if (wanted.empty()) return;
  Prefill prefill(runtime, layer, prompts, tokens);
  const std::vector<float> plain = prefill.result(runtime, cuda::PrefillPath::kPlain);
  const double error = difference(prefill.result(runtime, cuda::PrefillPath::kTensor), plain);
  const cuda::LayerCall call = prefill.call(cuda::PrefillPath::kTensor);
  const cuda::RuleView view = {call};
  const auto measure = [&](const std::string& part, const std::function<void()>& body) {
    if (std::find(wanted.begin(), wanted.end(), part) == wanted.end()) return;
    Line line("prefill layer");
    line.add("part", part)
        .add("key_dim", layer.shape.key_dim)
        .add("value_dim", layer.shape.value_dim)
        .add("prompts", prompts)
        .add("tokens", tokens);
    // Written so that NaN is wrong.
    if (!(error < 2e-2)) {
      line.add("wrong", error).print();
      return;
    }
    line.add("from_plain", error).add(time_calls(runtime, effort, 1, body)).print();
  };
  measure("layer", [&] { cuda::run_mixer_layer(runtime.stream(), call); });
  measure("features", [&] { cuda::launch_image_features(runtime.stream(), call); });
  measure("operands", [&] { cuda::launch_prefill_operands(runtime.stream(), view); });
  measure("chain", [&] { cuda::launch_prefill_chain(runtime.stream(), view); });
  for (const int columns : {32, 64, 128}) {
    cuda::chain_columns_for_benchmarks = columns;
    measure("chain-" + std::to_string(columns),
            [&] { cuda::launch_prefill_chain(runtime.stream(), view); });
  }
  cuda::chain_columns_for_benchmarks = 0;
  measure("output-norm", [&] { cuda::launch_output_norm(runtime.stream(), call, 0); });
}

}  // namespace

void bench_prefill_layer(cuda::Runtime& runtime, const Effort& effort) {
  if (effort.tiny) return prefill_layer(runtime, effort, qdelta_layer(2, 64, 64), 2, 100);
  const Effort few = effort.with(0.1, 15);
  for (const MixerLayer& layer : {qdelta_layer(6, 128, 256), qdelta_layer(6, 256, 512)}) {
    prefill_layer(runtime, few, layer, 1, 8192);
    prefill_layer(runtime, few, layer, 8, 1024);
  }
}

}  // namespace deltaserve::gpu_bench
