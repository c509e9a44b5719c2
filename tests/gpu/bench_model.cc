// Whole steps of the official Q-Delta models with random weights, through the backend as a server
// drives it: decode by batch, time to the first token of long prompts.
#include <chrono>
#include <cmath>

#include "kernels/cuda/backend.h"
#include "tests/gpu/bench_device.h"

namespace deltaserve::gpu_bench {
namespace {

struct Sizes {
  const char* name;
  int hidden, layers, heads, key_dim, value_dim, intermediate, vocab;
};

constexpr int kMaxPrefillRows = 8192;  // of one step

// Random weights, of which a matrix takes what it needs.
class RandomWeights {
 public:
  explicit RandomWeights(Backend& backend) : backend_(backend), floats_(size_t{1} << 20) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (float& value : floats_) value = normal(random);
  }
  MatrixHandle matrix(int64_t rows, int64_t columns) {
    // In blocks of rows, so that no host copy of the whole is needed.
    const int64_t block = std::max<int64_t>(1, std::ssize(floats_) / columns);
    std::vector<HostMatrix> blocks;
    for (int64_t r = 0; r < rows; r += block) {
      blocks.push_back({floats_.data(), Dtype::kF32, std::min(block, rows - r), columns});
    }
    const MatrixHandle handle = backend_.load_matrix(
        blocks.data(), static_cast<int>(std::ssize(blocks)), WeightFormat::kBf16);
    DS_CHECK(handle.id >= 0);
    return handle;
  }
  VectorHandle vector(int64_t rows, int64_t columns, float offset) {
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < values.size(); ++i) values[i] = offset + floats_[i % floats_.size()];
    return backend_.load_vector({values.data(), Dtype::kF32, rows, columns});
  }

 private:
  Backend& backend_;
  std::vector<float> floats_;
};

class RandomModel {
 public:
  RandomModel(Backend& backend, const Sizes& sizes, int max_rows, int slots, Dtype state_dtype)
      : backend_(backend),
        sizes_(sizes),
        mixer_(qdelta_layer(sizes.heads, sizes.key_dim, sizes.value_dim)),
        shape_(mixer_.shape),
        projection_(mixer_.projection) {
    const StateLayout layout = StateLayout::of(shape_, sizes.layers, state_dtype);
    state_bytes_ = static_cast<double>(layout.bytes());
    RandomWeights random(backend);
    embeddings_ = random.matrix(sizes.vocab, sizes.hidden);
    output_ = random.matrix(sizes.vocab, sizes.hidden);
    norm_ = random.vector(1, sizes.hidden, 1);
    for (int i = 0; i < sizes.layers; ++i) add_layer(random, i);
    x_ = backend.allocate(max_rows, sizes.hidden);
    normed_ = backend.allocate(max_rows, sizes.hidden);
    projected_ = backend.allocate(max_rows, projection_.columns);
    mixed_ = backend.allocate(max_rows, shape_.value_columns());
    wide_ = backend.allocate(max_rows, 2 * int64_t{sizes.intermediate});
    gated_ = backend.allocate(max_rows, sizes.intermediate);
    DS_CHECK(gated_.id >= 0);
    DS_CHECK(
        backend.reserve(shape_, max_rows, std::max(slots, 1), slots, sizes.hidden, sizes.vocab));
    DS_CHECK(backend.allocate_states(layout, slots));
  }

  // One step; greedy draws of the segments' last rows.
  void step(const std::vector<Segment>& segments, int num_decode) {
    int32_t rows = 0;
    std::vector<Draw> wanted;
    for (const Segment& segment : segments) {
      rows += segment.num_rows;
      wanted.push_back({.row = rows - 1, .sample = true, .temperature = 0});
    }
    tokens_.resize(static_cast<size_t>(rows));
    for (int32_t r = 0; r < rows; ++r) tokens_[r] = (r * 7919 + 13) % sizes_.vocab;
    backend_.begin_step({tokens_.data(), rows, segments.data(),
                         static_cast<int32_t>(std::ssize(segments)), num_decode});
    backend_.embed(embeddings_, x_);
    for (const Layer& layer : layers_) run_layer(layer);
    backend_.head(x_, norm_, 1e-6f, output_, wanted.data(), static_cast<int>(std::ssize(wanted)));
    std::vector<DrawResult> results(wanted.size());
    backend_.wait(backend_.end_step(), results.data());
    for (const DrawResult& result : results) DS_CHECK(std::isfinite(result.logprob));
  }
  double state_bytes() const { return state_bytes_; }
  double embedding_bytes() const { return static_cast<double>(backend_.matrix_bytes(embeddings_)); }

 private:
  struct Layer {
    VectorHandle mixer_norm, mlp_norm;
    MatrixHandle in_proj, out_proj, gate_up, down;
    MixerLayer mixer;
  };

  void add_layer(RandomWeights& random, int index) {
    Layer layer;
    layer.mixer_norm = random.vector(1, sizes_.hidden, 1);
    layer.mlp_norm = random.vector(1, sizes_.hidden, 1);
    layer.in_proj = random.matrix(projection_.columns, sizes_.hidden);
    layer.out_proj = random.matrix(sizes_.hidden, shape_.value_columns());
    layer.gate_up = random.matrix(2 * int64_t{sizes_.intermediate}, sizes_.hidden);
    layer.down = random.matrix(sizes_.hidden, sizes_.intermediate);
    layer.mixer = mixer_;
    layer.mixer.index = index;
    layer.mixer.conv = random.vector(shape_.conv_width, shape_.channels(), 0.25f);
    layer.mixer.a_log = random.vector(1, shape_.heads, 0);
    layer.mixer.dt_bias = random.vector(1, shape_.heads, -4);
    layer.mixer.norm = random.vector(1, shape_.value_dim, 1);
    layers_.push_back(layer);
  }
  void run_layer(const Layer& layer) {
    backend_.rms_norm(x_, layer.mixer_norm, 1e-6f, normed_);
    backend_.matmul({normed_}, layer.in_proj, {projected_});
    backend_.mixer_layer(layer.mixer, projected_, mixed_);
    backend_.matmul_add({mixed_}, layer.out_proj, {x_});
    backend_.rms_norm(x_, layer.mlp_norm, 1e-6f, normed_);
    backend_.matmul({normed_}, layer.gate_up, {wide_});
    backend_.swiglu(wide_, gated_);
    backend_.matmul_add({gated_}, layer.down, {x_});
  }

  Backend& backend_;
  Sizes sizes_;
  const MixerLayer mixer_;  // without its weights
  const MixerShape& shape_;
  const ProjectionLayout& projection_;
  double state_bytes_ = 0;
  MatrixHandle embeddings_, output_;
  VectorHandle norm_;
  std::vector<Layer> layers_;
  BufferHandle x_, normed_, projected_, mixed_, wide_, gated_;
  std::vector<int32_t> tokens_;
};

std::unique_ptr<Backend> make_backend(bool overlap = true) {
  std::string error;
  std::unique_ptr<cuda::Runtime> runtime = cuda::Runtime::create(&error);
  if (runtime == nullptr) std::fprintf(stderr, "%s\n", error.c_str());
  DS_CHECK(runtime != nullptr);
  cuda::BackendOptions options;
  options.overlap = overlap;
  return cuda::make_cuda_backend(std::move(runtime), options);
}

// Steps as a server sees them, with the host's part. The first are not counted: a step is recorded
// the second time.
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
  Dtype dtype = Dtype::kF32;
  bool overlap = true;
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
    for (int s = 0; s < batch; ++s) segments.push_back({s, s, s, 1, 64 + i});
    model.step(segments, batch);
  });
  // Of the embeddings a step reads a row a sequence.
  const double bytes =
      static_cast<double>(backend.weight_bytes()) - model.embedding_bytes() +
      batch * (2 * model.state_bytes() + model.embedding_bytes() / row.sizes.vocab);
  Line("model decode")
      .add("model", row.sizes.name)
      .add("state", dtype_name(row.dtype))
      .add("batch", batch)
      .add("launches", row.overlap ? "overlap" : "apart")
      .add(timing)
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
      model.step({{0, 0, 0, rows, at}}, 0);
    }
  };
  read_prompt(0);  // loads the kernels
  const double seconds = time_steps(effort, read_prompt, 1).median;
  Line("model first token")
      .add("model", row.sizes.name)
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
  for (int s = 0; s < num_decode; ++s) segments.push_back({s, s, s, 1, 64});
  segments.push_back({num_decode, num_decode, num_decode, row.mixed_prefill, 0});
  const Timing timing = time_steps(effort, [&](int) { model.step(segments, num_decode); });
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
        .add("state", dtype_name(row.dtype))
        .add("launches", row.overlap ? "overlap" : "apart");
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
  const std::unique_ptr<Backend> backend = make_backend(row.overlap);
  RandomModel model(*backend, row.sizes, max_rows, slots, row.dtype);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  Line("model load").add("model", row.sizes.name).add("seconds", seconds.count()).print();
  for (const int batch : batches) {
    const int times = batch < 32 ? 200 : 60;
    decode(effort.with(effort.warm_seconds, times), limits, row, *backend, model, batch);
  }
  for (const int64_t prompt : prompts) {
    const int times = effort.quick || prompt > 200'000 ? 1 : 3;
    first_token(effort.with(0, times), row, *backend, model, prompt);
  }
  for (const int num_decode : mixed) mixed_step(effort.with(0, 20), row, model, num_decode);
}

}  // namespace

void bench_model(const Effort& effort, const Limits& limits, const ModelParts& parts) {
  const auto bench = [&](const Row& row) { bench_row(effort, limits, parts, row); };
  if (effort.tiny) {
    const Sizes tiny = {"tiny", 64, 1, 2, 32, 32, 64, 64};
    const Sizes images = {"tiny-images", 64, 1, 2, 64, 64, 64, 64};  // of prefill_features.h
    bench({tiny, Dtype::kF32, true, {1, 2}, {100}, 64, 3, 50});
    bench({images, Dtype::kF32, true, {2}, {100}, 64, 3, 50});
    bench({tiny, Dtype::kF32, false, {2}, {}});
    return;
  }
  const Sizes q340 = {"qdelta-340m", 1024, 21, 6, 128, 256, 2816, 32000};
  const Sizes q1b = {"qdelta-1b", 2048, 21, 6, 256, 512, 5632, 32000};
  const std::vector<int> batches = {1, 8, 32, 128};
  bench({q340, Dtype::kF32, true, batches, {131072, 1 << 20}});
  bench({q1b, Dtype::kF32, true, batches, {131072}});
  for (const Sizes& sizes : {q340, q1b}) {
    bench({sizes, Dtype::kF32, false, {1}, {}});
    bench({sizes, Dtype::kBf16, true, batches, {}});
  }
}

}  // namespace deltaserve::gpu_bench
