// The rule's kernels alone, over the shapes of the published figures and of the official Q-Delta
// models.
#include "kernels/cuda/layer/prefill_features.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "kernels/cuda/rule/delta_steps.h"
#include "tests/gpu/bench_device.h"

namespace deltaserve::gpu_bench {
namespace {

constexpr int kMostForPlain = 8192;  // tokens of a prompt

struct Head {
  MixerKind kind;
  int heads, key_dim, value_dim;
};

Name named(const char* bench, const Head& head) {
  return Name(bench)
      .add("mixer", mixer_name(head.kind))
      .add("heads", head.heads)
      .add("key_dim", head.key_dim)
      .add("value_dim", head.value_dim);
}

MixerShape shape_of(const Head& head) {
  MixerShape shape;
  shape.kind = head.kind;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = head.heads;
  shape.decay_heads = shape.decay() == Decay::kNone ? 0 : head.heads;
  shape.beta_heads = head.heads;
  shape.key_dim = head.key_dim;
  shape.value_dim = head.value_dim;
  shape.scale = 1 / std::sqrt(static_cast<float>(head.key_dim));
  return shape;
}

// Random operands of `rows` rows, states of `slots` slots, and the calls over them.
class Rows {
 public:
  Rows(cuda::Runtime& runtime, const Head& head, StateFormat format, int64_t rows, int slots)
      : runtime_(runtime),
        shape_(shape_of(head)),
        layout_(StateLayout::of(shape_, 1, format)),
        gate_layout_(shape_),
        rows_(rows),
        features_(make_memory<float>(runtime, rows * shape_.channels())),
        gates_(upload(runtime, gate_rows())),
        out_(make_results<float>(runtime, rows * shape_.value_columns())),
        states_(make_memory<float>(runtime, slots * layout_.floats)) {
    const float unit = 1.5f / std::sqrt(static_cast<float>(head.key_dim));
    fill_random(runtime, features_.get(), rows * shape_.channels(), -unit, unit, true);
    runtime.fill_zero(states_.get(), states_.bytes());
  }

  cuda::LayerCall call() const {
    const MixerCall mixer = {{},
                             {},
                             {},
                             nullptr,
                             out_.get(),
                             {states_.get(), layout_.floats, layout_.layers[0]},
                             features_.get(),
                             gates_.get(),
                             nullptr,
                             nullptr,
                             gate_layout_};
    cuda::LayerCall call = {mixer, nullptr, nullptr, 0, nullptr, nullptr, {}};
    call.mixer.layer.shape = shape_;
    call.mixer.step.num_rows = static_cast<int32_t>(rows_);
    return call;
  }
  std::vector<float> read_out() const {
    return read(runtime_, out_.get(), rows_ * shape_.value_columns());
  }
  void clear_states() { runtime_.fill_zero(states_.get(), states_.bytes()); }
  void check() const { check_finite(runtime_, out_.get(), rows_ * shape_.value_columns()); }
  const MixerShape& shape() const { return shape_; }
  // Counts features and gates, which a row reads, and results, which it writes.
  double bytes_of_a_row() const {
    return sizeof(float) *
           static_cast<double>(shape_.channels() + gate_layout_.floats + shape_.value_columns());
  }

 private:
  // Log decays below 0, everything else in [0, 1).
  std::vector<float> gate_rows() const {
    std::vector<float> row(static_cast<size_t>(gate_layout_.floats));
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i % 97) / 97;
    const auto decays = static_cast<size_t>(shape_.decay_heads * shape_.decay_width());
    for (size_t i = 0; i < decays; ++i) row[static_cast<size_t>(gate_layout_.g) + i] *= -0.1f;
    std::vector<float> all;
    for (int64_t r = 0; r < rows_; ++r) all.insert(all.end(), row.begin(), row.end());
    return all;
  }

  cuda::Runtime& runtime_;
  MixerShape shape_;
  StateLayout layout_;
  GateLayout gate_layout_;
  int64_t rows_;
  cuda::Memory<float> features_, gates_, out_, states_;
};

double state_bytes(const Head& head, StateFormat format) {
  return 2.0 * head.heads * head.key_dim * head.value_dim *
         static_cast<double>(state_format_size(format));
}

void decode(cuda::Runtime& runtime, const Effort& effort, const Limits& limits, const Head& head,
            StateFormat format, int batch) {
  if (!effort.wants(named("decode-rule", head)
                        .add("state", state_format_name(format))
                        .add("batch", batch)
                        .text())) {
    return;
  }
  const size_t moved = static_cast<size_t>(state_bytes(head, format)) / 2 * batch;
  const int calls = effort.tiny ? 2 : static_cast<int>(std::max<size_t>(8, kBeyondCaches / moved));
  // At least two, because a call reads states while the one before still runs.
  const int sets = static_cast<int>(
      std::min<size_t>(static_cast<size_t>(calls), std::max<size_t>(2, kBeyondCaches / moved)));
  const Rows rows(runtime, head, format, batch, sets * batch);
  const cuda::Memory<Segment> device = upload(runtime, shuffled_segments(batch, sets));
  const Timing timing = time_calls(runtime, effort, calls, [&] {
    for (int i = 0; i < calls; ++i) {
      cuda::LayerCall call = rows.call();
      call.mixer.step.segments = device.get() + i % sets * batch;
      call.mixer.step.num_segments = call.mixer.step.num_decode = batch;
      call.mixer.step.num_decode_rows = batch;
      cuda::launch_steps(runtime.stream(), {call});
    }
  });
  rows.check();
  const double bytes = batch * (state_bytes(head, format) + rows.bytes_of_a_row());
  Line("decode rule")
      .add("mixer", mixer_name(head.kind))
      .add("heads", head.heads)
      .add("key_dim", head.key_dim)
      .add("value_dim", head.value_dim)
      .add("state", state_format_name(format))
      .add("batch", batch)
      .add(timing)
      .add("bytes", bytes)
      .add("tb_per_s", bytes / timing.median / 1e12)
      .add("of_update", bytes / timing.median / limits.update_bytes)
      .print();
}

struct Prompts {
  int count;
  int tokens;
};

void prefill(cuda::Runtime& runtime, const Effort& effort, const Head& head, const Prompts& prompts,
             cuda::PrefillPath path) {
  if (!effort.wants(named("prefill-rule", head)
                        .add("path", path == cuda::PrefillPath::kTensor ? "tensor" : "plain")
                        .add("prompts", prompts.count)
                        .add("tokens", prompts.tokens)
                        .text())) {
    return;
  }
  const int64_t num_rows = int64_t{prompts.count} * prompts.tokens;
  Rows rows(runtime, head, StateFormat::kF32, num_rows, prompts.count);
  std::vector<Segment> segments;
  std::vector<cuda::Chunk> chunks;
  std::vector<int32_t> row_segments(static_cast<size_t>(num_rows));
  for (int s = 0; s < prompts.count; ++s) {
    segments.push_back({RowKind::kPrefill, s, s, s * prompts.tokens, prompts.tokens, 0});
    for (int t = 0; t < prompts.tokens; t += kChunkTokens) {
      chunks.push_back(
          {s, s * prompts.tokens + t, std::min(int{kChunkTokens}, prompts.tokens - t)});
    }
    std::fill_n(row_segments.begin() + segments.back().first_row, prompts.tokens, s);
  }
  const cuda::Memory<Segment> device_segments = upload(runtime, segments);
  const cuda::Memory<cuda::Chunk> device_chunks = upload(runtime, chunks);
  const cuda::Memory<int32_t> device_rows = upload(runtime, row_segments);
  const auto scratch_bytes = cuda::prefill_scratch_bytes(rows.shape(), std::ssize(chunks));
  const cuda::Memory<unsigned char> scratch =
      make_memory<unsigned char>(runtime, static_cast<int64_t>(scratch_bytes));
  cuda::LayerCall call = rows.call();
  call.mixer.step.segments = device_segments.get();
  call.mixer.step.num_segments = prompts.count;
  call.chunks = device_chunks.get();
  call.num_chunks = static_cast<int32_t>(std::ssize(chunks));
  call.row_segments = device_rows.get();
  call.prefill_scratch = scratch.get();
  const auto make_images = [&] {
    if (!cuda::has_image_prefill(rows.shape())) return;
    cuda::launch_rounded_features(runtime.stream(), call);
  };
  make_images();
  const Timing timing =
      time_calls(runtime, effort, 1, [&] { cuda::launch_prefill(runtime.stream(), {call}, path); });
  rows.check();
  // Two products of the state a token, the unit of published figures.
  const double flops =
      4.0 * static_cast<double>(num_rows) * head.heads * head.key_dim * head.value_dim;
  Line line("prefill rule");
  line.add("mixer", mixer_name(head.kind))
      .add("path", path == cuda::PrefillPath::kTensor ? "tensor" : "plain")
      .add("heads", head.heads)
      .add("key_dim", head.key_dim)
      .add("value_dim", head.value_dim)
      .add("prompts", prompts.count)
      .add("tokens", prompts.tokens)
      .add(timing)
      .add("ntf", flops / timing.median / 1e12);
  if (path == cuda::PrefillPath::kTensor && prompts.tokens <= kMostForPlain) {
    const auto results = [&](cuda::PrefillPath of) {
      rows.clear_states();
      make_images();
      cuda::launch_prefill(runtime.stream(), {call}, of);
      return rows.read_out();
    };
    const std::vector<float> fast = results(cuda::PrefillPath::kTensor);
    line.add("from_plain", difference(fast, results(cuda::PrefillPath::kPlain)));
  }
  line.print();
}

}  // namespace

void bench_decode(cuda::Runtime& runtime, const Effort& effort, const Limits& limits) {
  if (effort.tiny) {
    decode(runtime, effort, limits, {MixerKind::kQDelta, 2, 32, 32}, StateFormat::kF32, 2);
    return;
  }
  const Head heads[] = {{MixerKind::kQDelta, 6, 128, 256},
                        {MixerKind::kQDelta, 6, 256, 512},
                        {MixerKind::kGatedDeltaNet, 16, 128, 128},
                        {MixerKind::kGatedDeltaNet, 32, 128, 128},
                        {MixerKind::kKimiDelta, 32, 128, 128}};
  for (const Head& head : heads) {
    for (const StateFormat format : kAllStateFormats) {
      for (const int batch : {1, 8, 32, 64, 128, 512}) {
        decode(runtime, effort, limits, head, format, batch);
      }
    }
  }
}

void bench_prefill(cuda::Runtime& runtime, const Effort& effort, const Limits&) {
  if (effort.tiny) {
    for (const auto path : {cuda::PrefillPath::kPlain, cuda::PrefillPath::kTensor}) {
      prefill(runtime, effort, {MixerKind::kQDelta, 2, 64, 64}, {2, 100}, path);
    }
    return;
  }
  struct Case {
    Head head;
    Prompts prompts;
  };
  const Case cases[] = {{{MixerKind::kGatedDeltaNet, 32, 128, 128}, {8, 4096}},
                        {{MixerKind::kGatedDeltaNet, 16, 128, 128}, {1, 32768}},
                        {{MixerKind::kQDelta, 6, 128, 256}, {1, 8192}},
                        {{MixerKind::kQDelta, 6, 128, 256}, {1, 131072}},
                        {{MixerKind::kQDelta, 6, 256, 512}, {1, 131072}},
                        {{MixerKind::kQDeltaReleased, 6, 128, 256}, {1, 32768}},
                        {{MixerKind::kKimiDelta, 32, 128, 128}, {1, 8192}}};
  for (const Case& c : cases) {
    if (cuda::has_tensor_prefill(shape_of(c.head))) {
      prefill(runtime, effort, c.head, c.prompts, cuda::PrefillPath::kTensor);
    }
    if (c.prompts.tokens <= kMostForPlain && !effort.quick) {
      prefill(runtime, effort, c.head, c.prompts, cuda::PrefillPath::kPlain);
    }
  }
}

}  // namespace deltaserve::gpu_bench
