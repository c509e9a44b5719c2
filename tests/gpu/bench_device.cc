#include "tests/gpu/bench_device.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include "kernels/cuda/products.h"

namespace deltaserve::gpu_bench {
namespace {

#ifdef __CUDACC__
// Between two events of the stream.
class Stopwatch {
 public:
  explicit Stopwatch(cuda::Runtime& runtime) : stream_(runtime.stream()) {
    DS_CHECK(cudaEventCreate(&begin_) == cudaSuccess && cudaEventCreate(&end_) == cudaSuccess);
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start() { DS_CHECK(cudaEventRecord(begin_, stream_.handle) == cudaSuccess); }
  double stop() {
    float milliseconds = 0;
    DS_CHECK(cudaEventRecord(end_, stream_.handle) == cudaSuccess);
    DS_CHECK(cudaEventSynchronize(end_) == cudaSuccess);
    DS_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_) == cudaSuccess);
    return milliseconds * 1e-3;
  }

 private:
  simt::Stream stream_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};
#else
class Stopwatch {
 public:
  explicit Stopwatch(cuda::Runtime&) {}
  void start() { begin_ = std::chrono::steady_clock::now(); }
  double stop() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_;
};
#endif

}  // namespace

Timing time_calls(cuda::Runtime& runtime, const Effort& effort, int calls,
                  const std::function<void()>& body) {
  body();  // loads the kernels, which cannot be recorded
  runtime.synchronize();
  std::function<void()> round = body;
  if (runtime.can_record()) {
    runtime.begin_recording();
    body();
    const uint64_t recording = runtime.end_recording();
    DS_CHECK(recording != 0);
    round = [&runtime, recording] { runtime.play(recording); };
  }
  Stopwatch watch(runtime);
  std::vector<double> times;
  double warm = 0;
  while (std::ssize(times) < effort.timed) {
    watch.start();
    round();
    const double seconds = watch.stop();
    if (warm >= effort.warm_seconds) times.push_back(seconds / calls);
    warm += seconds;
  }
  runtime.synchronize();
  return timing_of(std::move(times));
}

Timing timing_of(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(squares / std::max(norm, 1e-30));
}

std::vector<float> read(cuda::Runtime& runtime, const float* device, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  runtime.copy_out(values.data(), device, values.size() * sizeof(float));
  runtime.synchronize();
  return values;
}

MixerLayer qdelta_layer(int heads, int key_dim, int value_dim) {
  MixerLayer layer;
  MixerShape& shape = layer.shape;
  shape.kind = MixerKind::kQDelta;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = heads;
  shape.decay_heads = shape.beta_heads = heads;
  shape.key_dim = key_dim;
  shape.value_dim = value_dim;
  shape.conv_width = 4;
  shape.scale = 1 / std::sqrt(static_cast<float>(key_dim));
  shape.decay_gate = DecayGate::kSoftplus;
  shape.lambda_bias = 0.9f;
  ProjectionLayout& at = layer.projection;
  at.columns = 0;
  const auto take = [&at](int32_t count) {
    at.columns += count;
    return at.columns - count;
  };
  at.q = take(shape.q_columns());
  at.k = take(shape.k_columns());
  at.v = take(shape.v_columns());
  at.gate = take(shape.value_columns());
  at.decay = take(heads);
  at.beta = take(heads);
  at.lambda = take(heads);
  return layer;
}

std::vector<Segment> shuffled_segments(int batch, int sets) {
  std::vector<int32_t> slots(static_cast<size_t>(sets * batch));
  std::iota(slots.begin(), slots.end(), 0);
  std::shuffle(slots.begin(), slots.end(), std::mt19937(1));
  std::vector<Segment> segments;
  for (size_t i = 0; i < slots.size(); ++i) {
    segments.push_back({slots[i], slots[i], static_cast<int32_t>(i) % batch, 1, 64});
  }
  return segments;
}

void fill_random(cuda::Runtime& runtime, float* device, int64_t count, float low, float high) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> block(static_cast<size_t>(std::min<int64_t>(count, int64_t{1} << 20)));
  for (float& value : block) value = uniform(random);
  for (int64_t done = 0; done < count; done += std::ssize(block)) {
    const int64_t n = std::min<int64_t>(count - done, std::ssize(block));
    runtime.copy_in(device + done, block.data(), static_cast<size_t>(n) * sizeof(float));
  }
  runtime.synchronize();
}

void check_finite(cuda::Runtime& runtime, const float* device, int64_t count) {
  for (const float value : read(runtime, device, std::min<int64_t>(count, int64_t{1} << 20))) {
    DS_CHECK(std::isfinite(value));
  }
}

Limits measure_limits(cuda::Runtime& runtime, const Effort& effort) {
  Limits limits;
  const int64_t floats = effort.tiny ? 1 << 10 : int64_t{1} << 30;
  const cuda::Memory<float> from = make_memory<float>(runtime, floats);
  const cuda::Memory<float> to = make_memory<float>(runtime, floats);
  fill_random(runtime, from.get(), floats, -1, 1);
  const Timing copy =
      time_calls(runtime, effort, 1, [&] { runtime.copy(to.get(), from.get(), from.bytes()); });
  limits.copy_bytes = 2 * static_cast<double>(from.bytes()) / copy.median;
  Line("copy").add(copy).add("tb_per_s", limits.copy_bytes / 1e12).print();

  const int64_t n = effort.tiny ? 16 : 8192;
  cuda::ProductRunner products(runtime, cuda::Products::kLibraryForRows);
  if (!products.warning().empty()) Line("warning").add("name", products.warning()).print();
  std::vector<uint16_t> halves(static_cast<size_t>(n * n));
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = f32_to_bf16(static_cast<float>(i * 2654435761u % 2003) / 1001 - 1);
  }
  const cuda::Memory<uint16_t> w = upload(runtime, halves);
  const cuda::Memory<float> out = make_memory<float>(runtime, n * n);
  const cuda::DeviceMatrix matrix = {w.get(), Dtype::kBf16, n, n, n};
  products.add_weight(matrix);
  DS_CHECK(products.reserve(n));
  const Timing product = time_calls(runtime, effort, 1, [&] {
    products.multiply(matrix, {nullptr, w.get(), n}, static_cast<int32_t>(n), 0, false,
                      {out.get(), n, true});
  });
  check_finite(runtime, out.get(), n * n);
  limits.product_flops = 2.0 * static_cast<double>(n * n * n) / product.median;
  Line("product").add(product).add("tflops", limits.product_flops / 1e12).print();
  return limits;
}

}  // namespace deltaserve::gpu_bench
