#include "tests/gpu/bench_device.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

namespace deltaserve::gpu_bench {
namespace {

#ifdef __CUDACC__
// Measures the time between two events of the stream.
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

// grid [blocks that go over the data together], of 16-byte words
constexpr int kLimitThreads = 256;
constexpr int kUnderWay = 4;  // loads of a thread

DS_DEVICE float as_float(uint32_t word) {
  float value = 0;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
DS_DEVICE uint32_t as_word(float value) {
  uint32_t word = 0;
  std::memcpy(&word, &value, sizeof word);
  return word;
}

// visit(place, word) for every word; `last` is behind the last word.
template <class Visit>
DS_DEVICE void each_word(simt::Words4* data, int64_t last, int num_blocks, const Visit& visit) {
  const int64_t blocks = int64_t{simt::block_threads()} * kUnderWay;
  const int64_t step = num_blocks * blocks;
  for (int64_t at = simt::block_index().x * blocks + simt::thread_index(); at < last; at += step) {
    simt::Words4 words[kUnderWay];
    DS_UNROLL
    for (int i = 0; i < kUnderWay; ++i) {
      const int64_t place = at + i * simt::block_threads();
      words[i] = place < last ? simt::load_once(data + place) : simt::Words4{};
    }
    DS_UNROLL
    for (int i = 0; i < kUnderWay; ++i) {
      const int64_t place = at + i * simt::block_threads();
      if (place < last) visit(data + place, words[i]);
    }
  }
}

DS_KERNEL void DS_BOUNDS(kLimitThreads, 4)
    read_kernel(simt::Words4* data, int64_t words, int num_blocks, float* sums) {
  simt::await_launches_before();
  float sum = 0;
  each_word(data, words, num_blocks, [&](simt::Words4*, const simt::Words4& word) {
    DS_UNROLL
    for (int i = 0; i < 4; ++i) sum += as_float(word.word[i]);
  });
  sums[simt::block_index().x * kLimitThreads + simt::thread_index()] = sum;
}

DS_KERNEL void DS_BOUNDS(kLimitThreads, 4)
    copy_kernel(simt::Words4* data, int64_t words, int num_blocks, simt::Words4* to) {
  simt::await_launches_before();
  each_word(data, words, num_blocks, [&](simt::Words4* place, const simt::Words4& word) {
    simt::store_once(to + (place - data), word);
  });
}

DS_KERNEL void DS_BOUNDS(kLimitThreads, 4)
    update_kernel(simt::Words4* data, int64_t words, int num_blocks) {
  simt::await_launches_before();
  each_word(data, words, num_blocks, [&](simt::Words4* place, simt::Words4 word) {
    DS_UNROLL
    for (int i = 0; i < 4; ++i) word.word[i] = as_word(0.5f * as_float(word.word[i]) + 0.25f);
    simt::store_once(place, word);
  });
}

}  // namespace

bool Effort::wants(const std::string& name) const {
  const auto spaced = [](const std::string& text) {
    std::string words(1, ' ');
    words += text;
    return words += ' ';
  };
  const std::string padded = spaced(name);
  const auto matches = [&](const std::string& filter) {
    for (size_t begin = 0; begin < filter.size();) {
      const size_t end = std::min(filter.find(' ', begin), filter.size());
      if (padded.find(spaced(filter.substr(begin, end - begin))) == std::string::npos) {
        return false;
      }
      begin = end + 1;
    }
    return true;
  };
  if (!filters.empty() && std::none_of(filters.begin(), filters.end(), matches)) return false;
  if (only_names) std::printf("%s\n", name.c_str());
  return !only_names && !late(name);
}

bool Effort::late(const std::string& name) const {
  if (std::chrono::steady_clock::now() < deadline) return false;
  Line("left out").add("name", name).print();
  return true;
}

Effort Effort::with(double warm, int times) const {
  Effort other = *this;
  if (tiny) return other;
  other.warm_seconds = quick ? std::min(warm, warm_seconds) : warm;
  other.timed = quick ? std::min(times, timed) : times;
  return other;
}

void fill_nan(cuda::Runtime& runtime, void* device, size_t bytes) {
  const std::vector<unsigned char> block(std::min(bytes, size_t{1} << 22), 0xff);
  auto* to = static_cast<unsigned char*>(device);
  for (size_t done = 0; done < bytes; done += block.size()) {
    runtime.copy_in(to + done, block.data(), std::min(block.size(), bytes - done));
  }
  runtime.synchronize();
}

Timing time_calls(cuda::Runtime& runtime, const Effort& effort, int calls,
                  const std::function<void()>& body, Recorded recorded) {
  body();  // loads the kernels, which no graph can do
  runtime.synchronize();
  std::function<void()> round = body;
  if (recorded == Recorded::kYes && runtime.has_graphs()) {
    runtime.begin_graph();
    body();
    const uint64_t graph = runtime.end_graph();
    DS_CHECK(graph != 0);
    round = [&runtime, graph] { runtime.launch_graph(graph); };
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

double decode_bytes(const StateLayout& layout) {
  auto bytes = 2 * static_cast<double>(layout.bytes());
  for (const LayerStateLayout& layer : layout.layers) {
    bytes -= static_cast<double>(layer.conv_rows.floats) * sizeof(float);
  }
  return bytes;
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
    segments.push_back(
        {RowKind::kDecode, slots[i], slots[i], static_cast<int32_t>(i) % batch, 1, 64});
  }
  return segments;
}

void fill_random(cuda::Runtime& runtime, float* device, int64_t count, float low, float high,
                 bool rounded) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> block(static_cast<size_t>(std::min<int64_t>(count, int64_t{1} << 20)));
  for (float& value : block) value = uniform(random);
  for (float& value : block) value = rounded ? bf16_to_f32(f32_to_bf16(value)) : value;
  for (int64_t done = 0; done < count; done += std::ssize(block)) {
    const int64_t n = std::min<int64_t>(count - done, std::ssize(block));
    runtime.copy_in(device + done, block.data(), static_cast<size_t>(n) * sizeof(float));
  }
  runtime.synchronize();
}

Busy::Busy(cuda::Runtime& runtime, const Effort& effort)
    : runtime_(runtime),
      data_(make_memory<simt::Words4>(runtime, effort.tiny ? 1 << 10 : int64_t{1} << 26)),
      sums_(make_results<float>(runtime, int64_t{kBusyBlocks} * kLimitThreads)) {
  runtime.fill_zero(data_.get(), data_.bytes());
}

void Busy::launch() const {
  simt::launch(runtime_.stream(), {kBusyBlocks}, kLimitThreads, 0, read_kernel, data_.get(),
               data_.size(), int{kBusyBlocks}, sums_.get());
}

void check_finite(cuda::Runtime& runtime, const float* device, int64_t count) {
  for (const float value : read(runtime, device, std::min<int64_t>(count, int64_t{1} << 20))) {
    DS_CHECK(std::isfinite(value));
  }
}

// Returns the operations of bf16 a second of the device's tensor cores at its highest clock.
double tensor_flops() {
#ifdef __CUDACC__
  int multiprocessors = 0;
  int kilohertz = 0;
  int major = 0;
  int minor = 0;
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
  cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  const double of_a_cycle = major == 9 ? 4096 : major == 8 && minor == 0 ? 2048 : 0;
  return of_a_cycle * multiprocessors * kilohertz * 1e3;
#else
  return 0;
#endif
}

Limits measure_limits(cuda::Runtime& runtime, const Effort& effort) {
  Limits limits;
  const int64_t words = effort.tiny ? 1 << 10 : int64_t{1} << 26;
  const int num_blocks = effort.tiny ? 2 : 132 * 4;
  const cuda::Memory<simt::Words4> data = make_memory<simt::Words4>(runtime, words);
  const cuda::Memory<float> sums = make_results<float>(runtime, num_blocks * kLimitThreads);
  fill_random(runtime, reinterpret_cast<float*>(data.get()), 4 * words, -1, 1);
  const auto bytes = static_cast<double>(data.bytes());
  const Effort brief = effort.with(effort.warm_seconds, 20);
  const Timing read = time_calls(
      runtime, brief, 1,
      [&] {
        simt::launch(runtime.stream(), {num_blocks}, kLimitThreads, 0, read_kernel, data.get(),
                     words, num_blocks, sums.get());
      },
      Recorded::kNo);
  check_finite(runtime, sums.get(), sums.size());
  limits.read_bytes = bytes / read.median;
  Line("read").add(read).add("tb_per_s", limits.read_bytes / 1e12).print();
  const cuda::Memory<simt::Words4> other = make_results<simt::Words4>(runtime, words);
  const Timing copy = time_calls(
      runtime, brief, 1,
      [&] {
        simt::launch(runtime.stream(), {num_blocks}, kLimitThreads, 0, copy_kernel, data.get(),
                     words, num_blocks, other.get());
      },
      Recorded::kNo);
  check_finite(runtime, reinterpret_cast<float*>(other.get()), 4 * words);
  limits.copy_bytes = 2 * bytes / copy.median;
  Line("copy").add(copy).add("tb_per_s", limits.copy_bytes / 1e12).print();
  const Timing update = time_calls(
      runtime, brief, 1,
      [&] {
        simt::launch(runtime.stream(), {num_blocks}, kLimitThreads, 0, update_kernel, data.get(),
                     words, num_blocks);
      },
      Recorded::kNo);
  check_finite(runtime, reinterpret_cast<float*>(data.get()), 4 * words);
  limits.update_bytes = 2 * bytes / update.median;
  Line("update").add(update).add("tb_per_s", limits.update_bytes / 1e12).print();
  limits.tensor_flops = tensor_flops();
  Line("operations").add("flops", limits.tensor_flops).print();
  return limits;
}

}  // namespace deltaserve::gpu_bench
