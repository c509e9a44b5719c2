// Whole steps of the official Q-Delta models with random weights, through the backend as a server
// drives it: decode by batch, time to the first token of long prompts.
#include <chrono>
#include <cmath>

#include "kernels/cuda/program/backend.h"
#include "tests/gpu/bench_device.h"
#include "tests/kernels/cuda/self_test/program_builder.h"

namespace deltaserve::gpu_bench {
namespace {

struct Sizes {
  const char* name;
  int hidden, layers, heads, key_dim, value_dim, intermediate, vocab;
};

constexpr Sizes kTiny = {"tiny", 64, 1, 2, 32, 32, 64, 64};
constexpr Sizes kTinyImages = {"tiny-images", 64, 1, 2, 64, 64, 64, 64};  // of prefill_features.h
constexpr Sizes kQ340 = {"qdelta-340m", 1024, 21, 6, 128, 256, 2816, 32000};
constexpr Sizes kQ1b = {"qdelta-1b", 2048, 21, 6, 256, 512, 5632, 32000};

constexpr int kMaxPrefillRows = 8192;  // of one step

// A Q-Delta model of random weights, of which a matrix takes what it needs.
class RandomModel {
 public:
  RandomModel(Backend& backend, const Sizes& sizes, int max_rows, int slots,
              StateFormat state_format)
      : backend_(backend), sizes_(sizes), floats_(size_t{1} << 20) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (float& value : floats_) value = normal(random);
    const MixerShape shape = qdelta_layer(sizes.heads, sizes.key_dim, sizes.value_dim).shape;
    x_ = build_.buffer(sizes.hidden);
    normed_ = build_.buffer(sizes.hidden);
    projected_ = build_.buffer(cuda::packed_projection(shape).columns);
    mixed_ = build_.buffer(shape.value_columns());
    wide_ = build_.buffer(2 * sizes.intermediate);
    gated_ = build_.buffer(sizes.intermediate);
    build_.embed(matrix(sizes.vocab, sizes.hidden), x_);
    for (int i = 0; i < sizes.layers; ++i) add_layer(shape, state_format);
    const int32_t norm = build_.random_vector(1, sizes.hidden, 0.02f, 1);
    const Program program = build_.program(x_, norm, matrix(sizes.vocab, sizes.hidden), 1e-6f);
    state_bytes_ = decode_bytes(StateLayout::of(shape, sizes.layers, state_format));
    const std::string failure =
        backend.load(program, {max_rows, std::max(slots, 1), std::max(slots, 1), slots});
    if (!failure.empty()) std::fprintf(stderr, "%s\n", failure.c_str());
    DS_CHECK(failure.empty());
  }

  // One step; greedy draws of the segments' last rows.
  void step(const std::vector<Segment>& segments) {
    int32_t rows = 0;
    std::vector<Draw> draws;
    for (const Segment& segment : segments) {
      rows += segment.num_rows;
      draws.push_back({.row = rows - 1, .sample = true, .temperature = 0});
    }
    tokens_.resize(static_cast<size_t>(rows));
    for (int32_t r = 0; r < rows; ++r) tokens_[r] = (r * 7919 + 13) % sizes_.vocab;
    const Ticket ticket = backend_.forward({array_of(tokens_), array_of(segments)});
    backend_.draw(ticket, array_of(draws));
    std::vector<DrawResult> results(draws.size());
    backend_.wait(ticket, results.data());
    for (const DrawResult& result : results) DS_CHECK(std::isfinite(result.logprob));
  }
  // Steps of one token of each of `batch` sequences, each queued before the one in front of it is
  // waited for, as a server does it; the seconds of each.
  std::vector<double> decode_ahead(int batch, int count) {
    std::vector<int32_t> tokens(static_cast<size_t>(batch), 1);
    std::vector<Segment> segments;
    std::vector<Draw> draws;
    for (int s = 0; s < batch; ++s) {
      segments.push_back({RowKind::kDecode, s, s, s, 1, 64});
      draws.push_back({.row = s, .slot = s, .sample = true, .temperature = 0});
    }
    std::vector<DrawResult> results(draws.size());
    std::vector<double> seconds;
    Ticket last = backend_.forward({array_of(tokens), array_of(segments)});
    backend_.draw(last, array_of(draws));
    std::fill(tokens.begin(), tokens.end(), kTokenOfSlot);
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      for (Segment& segment : segments) ++segment.position;
      const Ticket next = backend_.forward({array_of(tokens), array_of(segments)});
      backend_.wait(last, results.data());
      backend_.draw(next, array_of(draws));
      last = next;
      const auto end = std::chrono::steady_clock::now();
      seconds.push_back(std::chrono::duration<double>(end - begin).count());
      begin = end;
    }
    backend_.wait(last, results.data());
    for (const DrawResult& result : results) DS_CHECK(std::isfinite(result.logprob));
    return seconds;
  }
  double state_bytes() const { return state_bytes_; }  // that a decode step moves

 private:
  int32_t matrix(int64_t rows, int64_t columns) {
    // The matrix is made of blocks of rows, so that no host copy of the whole is needed.
    const int64_t block = std::max<int64_t>(1, std::ssize(floats_) / columns);
    std::vector<HostMatrix> blocks;
    for (int64_t r = 0; r < rows; r += block) {
      blocks.push_back({floats_.data(), Dtype::kF32, std::min(block, rows - r), columns});
    }
    return build_.matrix(std::move(blocks), WeightFormat::kBf16);
  }
  void norm() { build_.norm(x_, build_.random_vector(1, sizes_.hidden, 0.02f, 1), normed_, 1e-6f); }
  void add_layer(const MixerShape& shape, StateFormat state_format) {
    norm();
    const int32_t mixer = build_.random_mixer(shape, state_format);
    const int64_t projected = build_.mixer_layer(mixer).projection.columns;
    build_.matmul(normed_, matrix(projected, sizes_.hidden), projected_);
    build_.mixer(mixer, projected_, mixed_);
    build_.matmul(mixed_, matrix(sizes_.hidden, shape.value_columns()), x_).accumulate = true;
    norm();
    build_.matmul(normed_, matrix(2 * int64_t{sizes_.intermediate}, sizes_.hidden), wide_);
    build_.gate(Activation::kSilu, wide_, gated_);
    build_.matmul(gated_, matrix(sizes_.hidden, sizes_.intermediate), x_).accumulate = true;
  }

  Backend& backend_;
  Sizes sizes_;
  std::vector<float> floats_;
  ProgramBuilder build_;
  double state_bytes_ = 0;
  int32_t x_ = -1, normed_ = -1, projected_ = -1, mixed_ = -1, wide_ = -1, gated_ = -1;
  std::vector<int32_t> tokens_;
};

std::unique_ptr<cuda::Runtime> make_runtime() {
  std::string error;
  std::unique_ptr<cuda::Runtime> runtime = cuda::Runtime::create(&error);
  if (runtime == nullptr) std::fprintf(stderr, "%s\n", error.c_str());
  DS_CHECK(runtime != nullptr);
  return runtime;
}

// Each piece can be switched off, so that the difference shows what it gains.
struct Piece {
  const char* name;
  void (*switch_off)(cuda::BackendOptions& options);
};
constexpr Piece kNothing = {"nothing", [](cuda::BackendOptions&) {}};
constexpr Piece kPieces[] = {
    {"graphs", [](cuda::BackendOptions& options) { options.graphs = false; }},
    {"overlap", [](cuda::BackendOptions& options) { options.overlap = false; }},
    {"library",
     [](cuda::BackendOptions& options) { options.matmuls = cuda::MatmulKernels::kTensor; }},
    {"mixer", [](cuda::BackendOptions& options) { options.one_launch_mixer = false; }},
    {"ends", [](cuda::BackendOptions& options) { options.matmul_ends = false; }},
    {"prefetch", [](cuda::BackendOptions& options) { options.prefetch = false; }}};

std::unique_ptr<Backend> make_backend(const Piece& without) {
  cuda::BackendOptions options;
  without.switch_off(options);
  return cuda::make_cuda_backend(make_runtime(), options);
}

// Steps with the host's part, one after the other. The first are not counted: a graph is made the
// second time.
Timing time_steps(const Effort& effort, const std::function<void(int)>& step, int uncounted = 3) {
  std::vector<double> times;
  double warm = 0;
  for (int i = 0; std::ssize(times) < effort.timed; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    step(i);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (warm >= effort.warm_seconds && i >= uncounted) times.push_back(seconds.count());
    warm += seconds.count();
  }
  return timing_of(std::move(times));
}

// One backend and model for all cells of a row.
struct Row {
  Sizes sizes;
  StateFormat format = StateFormat::kF32;
  Piece without = kNothing;
  std::vector<int> batches;
  std::vector<int64_t> prompts;
  int step_rows = kMaxPrefillRows;
  int mixed_decode = 32;  // rows of a step of both kinds
  int mixed_prefill = 2048;
};

void decode(const Effort& effort, const Limits& limits, const Row& row, Backend& backend,
            RandomModel& model, int batch) {
  const Timing timing = time_steps(effort, [&](int i) {
    std::vector<Segment> segments;
    for (int s = 0; s < batch; ++s) segments.push_back({RowKind::kDecode, s, s, s, 1, 64 + i});
    model.step(segments);
  });
  constexpr int kUncounted = 3;
  std::vector<double> ahead =
      model.decode_ahead(batch, kUncounted + static_cast<int>(std::max(effort.timed, 1)));
  ahead.erase(ahead.begin(), ahead.begin() + kUncounted);
  const Timing queued = timing_of(std::move(ahead));
  // A step reads one row of the embeddings for each sequence.
  const Memory memory = backend.memory();
  const auto embeddings = static_cast<double>(memory.weights - memory.step_weights);
  const double bytes = static_cast<double>(memory.step_weights) +
                       batch * (model.state_bytes() + embeddings / row.sizes.vocab);
  Line("model decode")
      .add("model", row.sizes.name)
      .add("state", state_format_name(row.format))
      .add("batch", batch)
      .add("without", row.without.name)
      .add(timing)
      .add("us_ahead", queued.median * 1e6)
      .add("tokens_per_s", batch / timing.median)
      .add("of_update", bytes / timing.median / limits.update_bytes)
      .add("backend", backend.description())
      .print();
}

void first_token(const Effort& effort, const Row& row, Backend& backend, RandomModel& model,
                 int64_t prompt) {
  const auto read_prompt = [&](int) {
    for (int64_t at = 0; at < prompt; at += row.step_rows) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(row.step_rows, prompt - at));
      model.step({{RowKind::kPrefill, 0, 0, 0, rows, at}});
    }
  };
  model.step({{RowKind::kPrefill, 0, 0, 0, row.step_rows, 0}});  // loads the kernels
  const double seconds = time_steps(effort, read_prompt, 1).median;
  Line("model first token")
      .add("model", row.sizes.name)
      .add("without", row.without.name)
      .add("prompt", static_cast<double>(prompt))
      .add("ms", seconds * 1e3)
      .add("tokens_per_s", static_cast<double>(prompt) / seconds)
      .add("step_rows", row.step_rows)
      .add("backend", backend.description())
      .print();
}

// Rows of both kinds in one step, which are multiplied apart.
void mixed_step(const Effort& effort, const Row& row, RandomModel& model, int num_decode) {
  std::vector<Segment> segments;
  for (int s = 0; s < num_decode; ++s) segments.push_back({RowKind::kDecode, s, s, s, 1, 64});
  segments.push_back({RowKind::kPrefill, num_decode, num_decode, num_decode, row.mixed_prefill, 0});
  const Timing timing = time_steps(effort, [&](int) { model.step(segments); });
  Line("model mixed step")
      .add("model", row.sizes.name)
      .add("decode_rows", num_decode)
      .add("prefill_rows", row.mixed_prefill)
      .add(timing)
      .print();
}

void bench_row(const Effort& effort, const Limits& limits, const ModelParts& parts,
               const Row& row) {
  const auto named = [&](const char* bench) {
    return Name(bench)
        .add("model", row.sizes.name)
        .add("state", state_format_name(row.format))
        .add("without", row.without.name);
  };
  const auto late = [&](const char* bench, const char* key, auto value) {
    return effort.late(named(bench).add(key, value).text());
  };
  std::vector<int> batches;
  for (const int batch : row.batches) {
    if (!parts.decode) break;
    if (effort.wants(named("model-decode").add("batch", batch).text())) batches.push_back(batch);
  }
  std::vector<int64_t> prompts;
  for (const int64_t prompt : row.prompts) {
    if (!parts.first) break;
    if (effort.wants(named("first-token").add("prompt", prompt).text())) prompts.push_back(prompt);
  }
  std::vector<int> mixed;
  for (const int num_decode : {0, row.mixed_decode}) {
    if (parts.mixed && !row.prompts.empty() &&
        effort.wants(named("mixed-step").add("decode", num_decode).text())) {
      mixed.push_back(num_decode);
    }
  }
  if (batches.empty() && prompts.empty() && mixed.empty()) return;
  const int slots = std::max(batches.empty() ? 1 : batches.back(), row.mixed_decode + 1);
  const bool reads = !prompts.empty() || !mixed.empty();
  const int max_rows = reads ? std::max(slots, row.step_rows) : slots;
  const auto begin = std::chrono::steady_clock::now();
  const std::unique_ptr<Backend> backend = make_backend(row.without);
  RandomModel model(*backend, row.sizes, max_rows, slots, row.format);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  Line("model load").add("model", row.sizes.name).add("seconds", seconds.count()).print();
  for (const int batch : batches) {
    if (late("model-decode", "batch", batch)) continue;
    const int times = batch < 32 ? 200 : 60;
    decode(effort.with(effort.warm_seconds, times), limits, row, *backend, model, batch);
  }
  for (const int64_t prompt : prompts) {
    if (late("first-token", "prompt", prompt)) continue;
    const int times = effort.quick || prompt > 200'000 ? 1 : 3;
    first_token(effort.with(0, times), row, *backend, model, prompt);
  }
  for (const int num_decode : mixed) mixed_step(effort.with(0, 20), row, model, num_decode);
}

// Records an event after every launch, and tells the time between neighbouring ones.
class LaunchMarks {
 public:
  LaunchMarks() {
    simt::launch_observer = [this](const simt::Stream& stream, const void* kernel) {
      kernels_.push_back(name_of(kernel));
      mark(stream);
    };
  }
  ~LaunchMarks() { simt::launch_observer = nullptr; }
  LaunchMarks(const LaunchMarks&) = delete;
  LaunchMarks& operator=(const LaunchMarks&) = delete;

  // Begins again.
  void begin(const simt::Stream& stream) {
    kernels_.clear();
    used_ = 0;
    mark(stream);
  }
  const std::vector<std::string>& kernels() const { return kernels_; }

#ifdef __CUDACC__
  // Returns the seconds of each launch. Call it after the last one has ended.
  std::vector<double> seconds() const {
    std::vector<double> all;
    for (size_t i = 1; i < used_; ++i) {
      float milliseconds = 0;
      DS_CHECK(cudaEventElapsedTime(&milliseconds, marks_[i - 1], marks_[i]) == cudaSuccess);
      all.push_back(milliseconds * 1e-3);
    }
    return all;
  }

 private:
  static std::string name_of(const void* kernel) {
    if (kernel == nullptr) return "cuBLASLt";
    const char* name = "";
    DS_CHECK(cudaFuncGetName(&name, kernel) == cudaSuccess);
    return name;
  }
  void mark(const simt::Stream& stream) {
    if (used_ == marks_.size()) {
      marks_.emplace_back();
      DS_CHECK(cudaEventCreate(&marks_.back()) == cudaSuccess);
    }
    DS_CHECK(cudaEventRecord(marks_[used_++], stream.handle) == cudaSuccess);
  }

  std::vector<cudaEvent_t> marks_;
#else
  // The emulation has no clock of its own.
  std::vector<double> seconds() const {
    return std::vector<double>(used_ - 1);
  }

 private:
  static std::string name_of(const void*) {
    return "emulated";
  }
  void mark(const simt::Stream&) {
    ++used_;
  }
#endif
  std::vector<std::string> kernels_;
  size_t used_ = 0;
};

// A step of so many sequences that decode, or of so many rows of one prompt.
struct ObservedStep {
  RowKind kind;
  int count;

  const char* key() const { return kind == RowKind::kDecode ? "batch" : "prefill_rows"; }
  int sequences() const { return kind == RowKind::kDecode ? count : 1; }
  std::vector<Segment> segments() const {
    if (kind == RowKind::kPrefill) return {{kind, 0, 0, 0, count, 0}};
    std::vector<Segment> all;
    for (int s = 0; s < count; ++s) all.push_back({kind, s, s, s, 1, 64});
    return all;
  }
};

void launches(const Effort& effort, const Sizes& sizes, const ObservedStep& step) {
  const std::string name =
      Name("launches").add("model", sizes.name).add(step.key(), step.count).text();
  if (!effort.wants(name)) return;
  std::unique_ptr<cuda::Runtime> owned = make_runtime();
  cuda::Runtime& runtime = *owned;
  cuda::BackendOptions options;
  options.graphs = options.overlap = false;
  const std::unique_ptr<Backend> backend = cuda::make_cuda_backend(std::move(owned), options);
  // The backend owns the runtime, so it must outlive this memory of the device.
  const Busy busy(runtime, effort);
  RandomModel model(*backend, sizes, step.count, step.sequences(), StateFormat::kF32);
  const std::vector<Segment> segments = step.segments();
  model.step(segments);  // loads the kernels
  LaunchMarks marks;
  std::vector<std::vector<double>> times;
  for (int i = 0; i < (effort.tiny ? 2 : 15); ++i) {
    for (int b = 0; b < 20; ++b) busy.launch();
    marks.begin(runtime.stream());
    model.step(segments);
    const std::vector<double> seconds = marks.seconds();
    times.resize(seconds.size());
    for (size_t at = 0; at < seconds.size(); ++at) times[at].push_back(seconds[at]);
  }
  double sum = 0;
  for (size_t at = 0; at < times.size(); ++at) {
    const Timing timing = timing_of(times[at]);
    sum += timing.median;
    Line("launch")
        .add("model", sizes.name)
        .add(step.key(), step.count)
        .add("place", static_cast<double>(at))
        .add("name", marks.kernels()[at])
        .add(timing)
        .print();
  }
  Line("launches")
      .add("model", sizes.name)
      .add(step.key(), step.count)
      .add("us", sum * 1e6)
      .add("count", static_cast<double>(times.size()))
      .print();
}

}  // namespace

void bench_launches(const Effort& effort) {
  if (effort.tiny) {
    launches(effort, kTiny, {RowKind::kDecode, 2});
    return launches(effort, kTinyImages, {RowKind::kPrefill, 70});
  }
  for (const int batch : {1, 128}) launches(effort, kQ340, {RowKind::kDecode, batch});
  launches(effort, kQ340, {RowKind::kPrefill, kMaxPrefillRows});
  for (const int batch : {1, 128}) launches(effort, kQ1b, {RowKind::kDecode, batch});
}

void bench_model(const Effort& effort, const Limits& limits, const ModelParts& parts) {
  const auto bench = [&](const Row& row) { bench_row(effort, limits, parts, row); };
  if (effort.tiny) {
    bench({kTiny, StateFormat::kF32, kNothing, {1, 2}, {100}, 64, 3, 50});
    bench({kTinyImages, StateFormat::kF32, kNothing, {2}, {100}, 64, 3, 50});
    for (const Piece& piece : kPieces) bench({kTiny, StateFormat::kF32, piece, {2}, {}});
    return;
  }
  const std::vector<int> batches = {1, 8, 32, 128};
  bench({kQ340, StateFormat::kF32, kNothing, batches, {131072, 1 << 20}});
  bench({kQ1b, StateFormat::kF32, kNothing, batches, {131072}});
  for (const Piece& piece : kPieces) {
    bench({kQ340, StateFormat::kF32, piece, {1, 128}, {131072}});
  }
  for (const Sizes& sizes : {kQ340, kQ1b}) {
    bench({sizes, StateFormat::kBf16, kNothing, batches, {}});
  }
}

}  // namespace deltaserve::gpu_bench
