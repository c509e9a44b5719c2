#include "kernels/cuda/self_test/layer_self_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/layer/decode_layer.h"
#include "kernels/cuda/layer/mixer_layer.h"
#include "kernels/cuda/layer/output_norm.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/rule/delta_prefill.h"

namespace deltaserve::cuda {
namespace {

constexpr double kFloatTolerance = 1e-4;
constexpr double kTensorTolerance = 2e-2;

// Two sequences that decode, padding, and a prompt of a chunk and a part of one.
constexpr int kPromptRows = kChunkTokens + 6;
constexpr Segment kSegments[] = {{RowKind::kDecode, 0, 0, 0, 1, 64},
                                 {RowKind::kDecode, -1, -1, 1, 1, 0},
                                 {RowKind::kDecode, 1, 1, 2, 1, 7},
                                 {RowKind::kPrefill, 2, 2, 3, kPromptRows, 64}};
constexpr int kNumDecode = 3;
constexpr int kRows = kNumDecode + kPromptRows;
constexpr int kSlots = 3;
constexpr int kDecodeSlots = 2;  // the first

}  // namespace

ProjectionLayout packed_projection(const MixerShape& shape) {
  ProjectionLayout at;
  at.columns = 0;
  const auto take = [&at](int32_t count) {
    const int32_t begin = at.columns;
    at.columns += count;
    return count == 0 ? -1 : begin;
  };
  at.q = take(shape.q_columns());
  at.k = take(shape.k_columns());
  at.v = take(shape.v_columns());
  at.gate = take(shape.value_columns());
  at.decay = take(shape.decay_heads * shape.decay_width());
  at.beta = take(shape.beta_heads * (shape.has_erase_gate() ? shape.key_dim : 1));
  at.lambda = take(shape.heads);
  at.write_gate = take(shape.has_erase_gate() ? shape.value_columns() : 0);
  at.precond_decay = take(shape.precond_heads);
  at.precond_beta = take(shape.precond_heads);
  if (shape.product_features) {
    at.q_left = take(shape.q_columns());
    at.q_right = take(shape.q_columns());
    at.k_left = take(shape.k_columns());
    at.k_right = take(shape.k_columns());
  }
  return at;
}

namespace {

class SelfTest {
 public:
  SelfTest(Runtime& runtime, const MixerShape& shape, StateFormat format)
      : runtime_(runtime),
        layout_(StateLayout::of(shape, 1, format)),
        gate_layout_(shape),
        projection_(packed_projection(shape)) {
    layer_.shape = shape;
    layer_.projection = projection_;
    layer_.state = layout_.layers[0];
    const int64_t keys = int64_t{shape.heads} * shape.key_dim;
    const int64_t weights = shape.conditioning.on ? keys * shape.heads : 0;
    random(kRows * int64_t{projection_.columns}, &projected_);
    random(int64_t{shape.conv_width} * shape.channels(), &conv_);
    random(std::max<int64_t>({int64_t{shape.decay_heads} * shape.decay_width(), weights,
                              shape.value_columns(), 1}),
           &vector_);
    floats(kSlots * layout_.floats, &states_);
    floats(kRows * int64_t{shape.channels()}, &features_);
    floats(kRows * gate_layout_.floats, &gates_);
    floats(kRows * keys, &queries_);
    floats(kRows * 4 * keys, &covariance_);
    floats(kRows * int64_t{shape.value_columns()}, &out_);
    if (has_unnormed_decode(shape)) {
      floats(kNumDecode * int64_t{shape.heads} * square_groups(shape.value_dim), &squares_);
      rounded_ = Memory<uint16_t>(runtime_, kRows * int64_t{shape.value_columns()});
      complete_ = complete_ && !rounded_.empty();
    }
    upload(std::vector<Segment>(std::begin(kSegments), std::end(kSegments)), &segments_);
    upload(std::vector<Chunk>{{3, kNumDecode, kChunkTokens},
                              {3, kNumDecode + kChunkTokens, kPromptRows - kChunkTokens}},
           &chunks_);
    std::vector<int32_t> row_segments(kRows, 3);
    for (int r = 0; r < kNumDecode; ++r) row_segments[static_cast<size_t>(r)] = r;
    upload(row_segments, &row_segments_);
    const auto bytes = static_cast<int64_t>(prefill_scratch_bytes(shape, 2));
    scratch_ = Memory<unsigned char>(runtime_, std::max<int64_t>(bytes, 1));
    complete_ = complete_ && !scratch_.empty();
  }

  bool complete() const { return complete_; }

  struct Result {
    std::vector<float> decode, prefill;
    std::vector<float> states;  // of the slots of decode rows
    // These are there where decode rows leave their norm (LayerPaths::leaves_norm): the rows with
    // the norm applied, and for comparisons of bits the rows and the sums of squares, then states.
    std::vector<float> normalised, unnormed, unnormed_states;
  };

  // The rows of a second step, which reads the states that a first one left; whatever else one
  // kernel leaves for the next is cleared before. By a graph, if `by_graph` and possible.
  // Empty where a kernel could not be launched.
  Result run(const LayerPaths& paths, bool by_graph = false) {
    LayerCall call = call_of(paths);
    run_steps(call, by_graph);
    Result result;
    if (!runtime_.launches_succeeded()) return result;
    const int64_t columns = layer_.shape.value_columns();
    read(out_.get(), kNumDecode * columns, &result.decode);
    read(out_.get() + kNumDecode * columns, kPromptRows * columns, &result.prefill);
    read(states_.get(), kDecodeSlots * layout_.floats, &result.states);
    runtime_.synchronize();
    if (!paths.leaves_norm) return result;
    call.out_bf16 = rounded_.get();
    call.head_squares = squares_.get();
    run_steps(call, by_graph);
    if (!runtime_.launches_succeeded()) return result;
    std::vector<uint16_t> rows;
    std::vector<float> squares;
    read(rounded_.get(), kNumDecode * columns, &rows);
    read(squares_.get(), squares_.size(), &squares);
    read(states_.get(), kDecodeSlots * layout_.floats, &result.unnormed_states);
    runtime_.synchronize();
    for (const uint16_t x : rows) result.unnormed.push_back(bf16_to_f32(x));
    result.normalised = normalise(result.unnormed, squares);
    result.unnormed.insert(result.unnormed.end(), squares.begin(), squares.end());
    return result;
  }

 private:
  void floats(int64_t count, Memory<float>* memory) {
    *memory = Memory<float>(runtime_, std::max<int64_t>(count, 1));
    complete_ = complete_ && !memory->empty();
  }
  LayerCall call_of(const LayerPaths& paths) const {
    const bool conditioned = layer_.shape.conditioning.on;
    const MixerCall mixer = {layer_,
                             weights(),
                             {nullptr, kRows, segments_.get(),
                              static_cast<int32_t>(std::size(kSegments)), kNumDecode, kNumDecode},
                             projected_.get(),
                             out_.get(),
                             {states_.get(), layout_.floats, layout_.layers[0]},
                             features_.get(),
                             gates_.get(),
                             conditioned ? queries_.get() : nullptr,
                             conditioned ? covariance_.get() : nullptr,
                             gate_layout_};
    return {mixer, row_segments_.get(), chunks_.get(), 2, scratch_.get(), nullptr, paths};
  }
  // Two steps from states of zeros.
  void run_steps(const LayerCall& call, bool by_graph) {
    uint64_t graph = 0;
    if (by_graph && runtime_.has_graphs()) {
      runtime_.begin_graph();
      run_mixer_layer(runtime_.stream(), call);
      graph = runtime_.end_graph();
    }
    runtime_.fill_zero(states_.get(), states_.bytes());
    for (int step = 0; step < 2; ++step) {
      clear_passed_on();
      if (graph > 0) {
        runtime_.launch_graph(graph);
      } else {
        run_mixer_layer(runtime_.stream(), call);
      }
    }
  }
  template <class T>
  void read(const T* from, int64_t count, std::vector<T>* to) {
    to->resize(static_cast<size_t>(count));
    runtime_.copy_out(to->data(), from, to->size() * sizeof(T));
  }
  // Applies the norm that decode rows left to the output projection.
  std::vector<float> normalise(std::vector<float> rows, const std::vector<float>& squares) const {
    const MixerShape& shape = layer_.shape;
    const int groups = square_groups(shape.value_dim);
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t head = i / static_cast<size_t>(shape.value_dim);
      float sum = 0;
      for (int g = 0; g < groups; ++g) sum += squares[head * static_cast<size_t>(groups) + g];
      rows[i] /= std::sqrt(sum / static_cast<float>(shape.value_dim) + shape.norm_eps);
    }
    return rows;
  }
  void clear_passed_on() {
    for (const Memory<float>* memory :
         {&features_, &gates_, &queries_, &covariance_, &out_, &squares_}) {
      runtime_.fill_zero(memory->get(), memory->bytes());
    }
    runtime_.fill_zero(rounded_.get(), rounded_.bytes());
    runtime_.fill_zero(scratch_.get(), scratch_.bytes());
  }
  void random(int64_t count, Memory<float>* memory) {
    std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
    std::vector<float> values(static_cast<size_t>(std::max<int64_t>(count, 1)));
    for (float& value : values) value = uniform(random_);
    upload(values, memory);
  }
  template <class T>
  void upload(const std::vector<T>& values, Memory<T>* memory) {
    *memory = Memory<T>(runtime_, std::ssize(values));
    if (memory->empty()) {
      complete_ = false;
      return;
    }
    runtime_.copy_in(memory->get(), values.data(), memory->bytes());
    runtime_.synchronize();
  }
  MixerWeights weights() const {
    const MixerShape& shape = layer_.shape;
    const float* any = vector_.get();
    MixerWeights weights = {};
    weights.norm = any;
    if (shape.conv_width > 0) weights.conv = conv_.get();
    if (shape.decay_heads > 0) weights.a_log = weights.dt_bias = any;
    if (shape.precond_heads > 0) {
      weights.precond_a_log = weights.precond_dt_bias = weights.precond_center = any;
    }
    if (shape.conditioning.on) weights.conditioning = weights.conditioning_bias = any;
    return weights;
  }

  Runtime& runtime_;
  StateLayout layout_;
  GateLayout gate_layout_;
  ProjectionLayout projection_;
  MixerLayer layer_;
  std::mt19937 random_{1};
  bool complete_ = true;
  Memory<float> projected_, conv_, vector_, states_, features_, gates_, queries_, covariance_, out_;
  Memory<float> squares_;  // of has_unnormed_decode(), as the next
  Memory<uint16_t> rounded_;
  Memory<Segment> segments_;
  Memory<Chunk> chunks_;
  Memory<int32_t> row_segments_;
  Memory<unsigned char> scratch_;
};

// |a - b| / |b| by norms; infinity where either is no number, or missing.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.empty() || a.size() != b.size()) return INFINITY;
  double squares = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    squares += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  const double relative = std::sqrt(squares / std::max(norm, 1e-30));
  return std::isfinite(relative) ? relative : INFINITY;
}

void warn(std::string* warning, const char* text) {
  if (warning->find(text) != std::string::npos) return;  // of another variant
  if (!warning->empty()) *warning += ", ";
  *warning += text;
}

// Compares bits, which also works for states of bf16.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Whether decode has the same bits and leaves the same states; if `unnormed`, also without the
// norm.
bool same_decode(const SelfTest::Result& a, const SelfTest::Result& b, bool unnormed) {
  if (!same_bits(a.decode, b.decode) || !same_bits(a.states, b.states)) return false;
  return !unnormed ||
         (same_bits(a.unnormed, b.unnormed) && same_bits(a.unnormed_states, b.unnormed_states));
}

// Takes from `paths` what does not agree with the plain kernels.
void compare(Runtime& runtime, const MixerShape& shape, StateFormat format, LayerPaths* paths,
             std::string* warning) {
  SelfTest test(runtime, shape, format);
  if (!test.complete()) {
    *paths = {};
    return warn(warning, "no memory to test the fast kernels, which stay off");
  }
  const SelfTest::Result plain = test.run({.leaves_norm = paths->leaves_norm});
  const bool has_fast = paths->one_launch_decode || paths->prefill != PrefillPath::kPlain;
  const SelfTest::Result fast = has_fast ? test.run(*paths) : SelfTest::Result{};
  if (paths->leaves_norm && difference(plain.normalised, plain.decode) > kTensorTolerance) {
    paths->leaves_norm = false;
    warn(warning, "decode without its output norm failed its comparison and stays off");
  }
  // In an inexact format two correct states may differ by one rounding step, so the tolerance is
  // larger.
  const double step = state_format_is_exact(format) ? kFloatTolerance : kTensorTolerance;
  if (paths->one_launch_decode && difference(fast.decode, plain.decode) > step) {
    paths->one_launch_decode = false;
    warn(warning, "one-launch decode failed its comparison and stays off");
  }
  // A row takes the passes where a decode segment of its step has several rows.
  if (paths->one_launch_decode && !same_decode(fast, plain, paths->leaves_norm)) {
    paths->one_launch_decode = false;
    warn(warning, "one-launch decode has other bits than its passes and stays off");
  }
  if (paths->prefill == PrefillPath::kTensor &&
      difference(fast.prefill, plain.prefill) > kTensorTolerance) {
    paths->prefill = PrefillPath::kPlain;
    warn(warning, "prefill on tensor cores failed its comparison and stays off");
  }
}

// Returns true if a layer has the same bits when its launches overlap. Leaves them overlapping.
bool overlap_agrees(Runtime& runtime, SelfTest& test, const LayerPaths& paths) {
  constexpr int kTries = 3;  // a read that comes too early does so once in a while
  runtime.set_overlap(false);
  const SelfTest::Result apart = test.run(paths);
  if (apart.decode.empty()) return false;
  runtime.set_overlap(true);
  for (int i = 0; i < kTries; ++i) {
    const SelfTest::Result result = test.run(paths, i == kTries - 1);
    if (!same_decode(result, apart, paths.leaves_norm) ||
        !same_bits(result.prefill, apart.prefill)) {
      return false;
    }
  }
  return true;
}

}  // namespace

LayerPaths self_test_paths(Runtime& runtime, const MixerShape& shape, StateFormat format,
                           std::string* warning) {
  LayerPaths paths;
  paths.one_launch_decode = has_decode_layer(shape, {});
  paths.leaves_norm = has_unnormed_decode(shape);
  if (has_tensor_prefill(shape)) paths.prefill = PrefillPath::kTensor;
  if (paths.one_launch_decode || paths.leaves_norm || paths.prefill != PrefillPath::kPlain) {
    compare(runtime, shape, format, &paths, warning);
  }
  return paths;
}

void self_test_overlap(Runtime& runtime, const std::vector<MixerVariant>& variants,
                       const TensorSupport& matmuls, std::string* warning) {
  if (!runtime.can_overlap()) return;
  const auto agrees = [&](const MixerVariant& variant) {
    SelfTest test(runtime, variant.shape, variant.format);
    if (!test.complete()) {
      warn(warning, "no memory to test overlapping launches");
      return false;
    }
    LayerPaths passes = variant.paths;
    passes.one_launch_decode = false;
    return overlap_agrees(runtime, test, variant.paths) &&
           (!variant.paths.one_launch_decode || overlap_agrees(runtime, test, passes));
  };
  if (std::all_of(variants.begin(), variants.end(), agrees)) {
    runtime.set_overlap(true);
    if (!matmuls.matmuls || test_tensor_matmuls(runtime) == matmuls) return;
  }
  runtime.set_overlap(false);
  warn(warning, "overlapping launches failed their comparison and stay off");
}

}  // namespace deltaserve::cuda
