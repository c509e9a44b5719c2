// Matmuls of the official Q-Delta models' shapes: every own kernel, what kAuto takes, the
// library's tested algorithm and its choice for the number of rows. First the result against
// float64, then the time; weights come from memory, not from a cache.
#include <chrono>
#include <cmath>

#include "kernels/cuda/matmul/matmul_runner.h"
#include "tests/gpu/bench_device.h"

namespace deltaserve::gpu_bench {
namespace {

struct Shape {
  const char* name;
  int64_t outs, in;
  bool accumulate;
};

constexpr int64_t kMostRows = 8192;
constexpr double kWrong = 1e-5;                    // of the norm
constexpr size_t kRoundBytes = size_t{192} << 20;  // of weights, beyond the second-level cache

struct Kernel {
  const char* name;
  cuda::TensorKernel own;
};
constexpr Kernel kKernels[] = {
    {"auto", cuda::TensorKernel::kAuto},       {"few", cuda::TensorKernel::kFewRows},
    {"tile32", cuda::TensorKernel::kTile32},   {"tile64", cuda::TensorKernel::kTile64},
    {"tile128", cuda::TensorKernel::kTile128}, {"wide", cuda::TensorKernel::kWide}};

const char* name_of(cuda::TensorKernel kernel) {
  for (const Kernel& k : kKernels) {
    if (k.own == kernel) return k.name;
  }
  return "";
}

// Weights, several times over, activations and outputs of one shape.
class MatmulBench {
 public:
  MatmulBench(cuda::Runtime& runtime, const Effort& effort, const Limits& limits,
              const Shape& shape, int64_t most_rows)
      : runtime_(runtime),
        effort_(effort),
        limits_(limits),
        shape_(shape),
        stride_(cuda::padded_to_64(shape.outs)),
        sets_(effort.tiny ? 2
                          : std::max<int64_t>(
                                1, static_cast<int64_t>(kRoundBytes / (2 * stride_ * shape.in)))),
        w_(make_memory<uint16_t>(runtime, sets_ * stride_ * shape.in)),
        x_(make_memory<uint16_t>(runtime, most_rows * shape.in)),
        out_(make_results<float>(runtime, most_rows * stride_)) {
    host_w_ = random(shape.outs * shape.in, 1);
    host_x_ = random(most_rows * shape.in, 2);
    host_w_.resize(static_cast<size_t>(stride_ * shape.in));  // zeros behind the weights
    for (int64_t s = 0; s < sets_; ++s) {
      runtime.copy_in(w_.get() + s * stride_ * shape.in, host_w_.data(), host_w_.size() * 2);
    }
    runtime.copy_in(x_.get(), host_x_.data(), host_x_.size() * 2);
    runtime.synchronize();
  }

  void own(const Kernel& kernel, int rows) {
    cuda::MatmulCall call = call_of(rows);
    const bool is_auto = kernel.own == cuda::TensorKernel::kAuto;
    const bool clusters = runtime_.has_clusters();
    const cuda::TensorKernel taken = is_auto ? cuda::fastest_kernel(call, clusters) : kernel.own;
    if (taken == cuda::TensorKernel::kWide && !clusters) return;
    if (!cuda::takes_kernel(call, taken)) return;
    if (!effort_.wants(name(kernel.name, rows))) return;
    Line line = line_of(kernel.name, rows);
    if (is_auto) line.add("is", name_of(taken));
    measure(&line, rows, [&](int64_t set) {
      call.w = weights(set);
      cuda::launch_tensor_matmul(runtime_.stream(), call, taken);
    });
  }
  // Prefill rows by the library's algorithm that passes the self-test at load.
  void library(const std::vector<int>& counts) {
    constexpr const char* kernel = "library";
    const auto wanted = [&](int rows) { return effort_.wants(name(kernel, rows)); };
    if (std::none_of(counts.begin(), counts.end(), wanted)) return;
    const auto begin = std::chrono::steady_clock::now();
    cuda::MatmulRunner runner(runtime_, cuda::MatmulKernels::kExact);
    runner.add_weight(weights(0), true);
    DS_CHECK(runner.reserve(*std::max_element(counts.begin(), counts.end())));
    runtime_.synchronize();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    Line("library")
        .add("name", shape_.name)
        .add("kernel", kernel)
        .add("choice", runner.library_choices())
        .add("warning", runner.warning())
        .add("load_ms", seconds.count() * 1e3)
        .print();
    for (const int rows : counts) {
      if (!wanted(rows)) continue;
      Line line = line_of(kernel, rows);
      measure(&line, rows, [&](int64_t set) {
        runner.multiply(weights(set), {nullptr, x_.get(), shape_.in}, rows, 0, shape_.accumulate,
                        {out_.get(), stride_, true});
      });
    }
  }

  // The library's own choice for each number of rows, whose bits may depend on it: what the others
  // are measured against.
  void library_for_rows(const std::vector<int>& counts) {
    constexpr const char* kernel = "for-rows";
    const auto wanted = [&](int rows) { return effort_.wants(name(kernel, rows)); };
    if (std::none_of(counts.begin(), counts.end(), wanted)) return;
    const auto library = cuda::MatmulLibrary::create(runtime_);
    if (library == nullptr) return;
    for (const int rows : counts) {
      if (!wanted(rows)) continue;
      cuda::MatmulCall call = call_of(rows);
      const auto found = library->candidates(call, 1, false);
      Line line = line_of(kernel, rows);
      if (found.empty()) {
        line.add("result", "the library offers nothing").print();
        continue;
      }
      line.add("choice", library->name(found[0]));
      measure(&line, rows, [&](int64_t set) {
        call.w = weights(set);
        DS_CHECK(library->multiply(found[0], call));
      });
    }
  }

 private:
  static std::vector<uint16_t> random(int64_t count, uint32_t seed) {
    std::mt19937 numbers(seed);
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (uint16_t& value : values) {
      value = f32_to_bf16(static_cast<float>(numbers() % 4096) / 2048 - 1);
    }
    return values;
  }
  std::string name(const char* kernel, int rows) const {
    return Name("matmul").add("name", shape_.name).add("rows", rows).add("kernel", kernel).text();
  }
  Line line_of(const char* kernel, int rows) const {
    Line line("matmul");
    line.add("name", shape_.name).add("rows", rows).add("kernel", kernel);
    return line;
  }
  cuda::DeviceMatrix weights(int64_t set) const {
    return {w_.get() + set * stride_ * shape_.in,
            Dtype::kBf16,
            shape_.outs,
            shape_.in,
            shape_.in,
            stride_ - shape_.outs};
  }
  cuda::MatmulCall call_of(int rows) const {
    cuda::MatmulCall call;
    call.w = weights(0);
    call.x_bf16 = x_.get();
    call.x_bf16_stride = shape_.in;
    call.out = out_.get();
    call.out_stride = stride_;
    call.num_rows = rows;
    call.accumulate = shape_.accumulate;
    return call;
  }

  // Returns |result - float64| / |float64| over some rows and outputs.
  double error(int rows) {
    double squares = 0;
    double norm = 0;
    for (const int64_t row : {int64_t{0}, int64_t{rows / 3}, int64_t{rows - 1}}) {
      const std::vector<float> out = read(runtime_, out_.get() + row * stride_, stride_);
      for (int64_t o = 0; o < shape_.outs; o += o < 64 || o + 64 >= shape_.outs ? 1 : 37) {
        double sum = 0;
        for (int64_t k = 0; k < shape_.in; ++k) {
          sum += double{bf16_to_f32(host_x_[static_cast<size_t>(row * shape_.in + k)])} *
                 double{bf16_to_f32(host_w_[static_cast<size_t>(o * shape_.in + k)])};
        }
        squares += std::pow(double{out[static_cast<size_t>(o)]} - sum, 2);
        norm += sum * sum;
      }
    }
    return std::sqrt(squares / std::max(norm, 1e-30));
  }

  void measure(Line* line, int rows, const std::function<void(int64_t set)>& launch) {
    const auto out_bytes = static_cast<size_t>(rows * stride_) * sizeof(float);
    if (shape_.accumulate) {
      runtime_.fill_zero(out_.get(), out_bytes);
    } else {
      fill_nan(runtime_, out_.get(), out_bytes);
    }
    launch(0);
    const double wrong = error(rows);
    line->add("error", wrong);
    if (!(wrong < kWrong)) {
      line->add("result", "wrong").print();
      return;
    }
    const int calls = static_cast<int>(std::max<int64_t>(sets_, effort_.tiny ? 2 : 4));
    const Timing timing = time_calls(runtime_, effort_, calls, [&] {
      for (int i = 0; i < calls; ++i) launch(i % sets_);
    });
    const double bytes = 2.0 * static_cast<double>(shape_.outs * shape_.in) +
                         static_cast<double>(rows) * static_cast<double>(2 * shape_.in) +
                         static_cast<double>(rows) * static_cast<double>(4 * shape_.outs) *
                             (shape_.accumulate ? 2 : 1);
    const double flops =
        2.0 * rows * static_cast<double>(shape_.outs) * static_cast<double>(shape_.in);
    // No kernel is faster than its bytes, nor than its operations.
    double floor = bytes / limits_.read_bytes;
    if (limits_.tensor_flops > 0) floor = std::max(floor, flops / limits_.tensor_flops);
    line->add(timing)
        .add("floor_us", floor * 1e6)
        .add("tflops", flops / timing.median / 1e12)
        .add("of_read", bytes / timing.median / limits_.read_bytes)
        .print();
  }

  cuda::Runtime& runtime_;
  const Effort& effort_;
  const Limits& limits_;
  const Shape shape_;
  const int64_t stride_;
  const int64_t sets_;
  std::vector<uint16_t> host_w_, host_x_;
  cuda::Memory<uint16_t> w_, x_;
  cuda::Memory<float> out_;
};

}  // namespace

void bench_matmuls(cuda::Runtime& runtime, const Effort& effort, const Limits& limits) {
  std::vector<Shape> shapes = {
      {"q340-in", 4626, 1024, false},      {"q340-out", 1024, 1536, true},
      {"q340-gate_up", 5632, 1024, false}, {"q340-down", 1024, 2816, true},
      {"head", 32000, 1024, false},        {"q1b-in", 9234, 2048, false},
      {"q1b-out", 2048, 3072, true},       {"q1b-gate_up", 11264, 2048, false},
      {"q1b-down", 2048, 5632, true}};
  std::vector<int> own = {1, 8, 16, 24, 32, 64, 128, 256, 512};
  std::vector<int> library = {64, 512, 2048, kMostRows};
  if (effort.tiny) {
    shapes = {{"tiny", 70, 128, true}};
    own = library = {1, 9};
  }
  const Effort brief = effort.with(0.02, 15);
  for (const Shape& shape : shapes) {
    const auto wanted = [&](const char* kernel) {
      const auto name = [&](int rows) {
        return Name("matmul").add("name", shape.name).add("rows", rows).add("kernel", kernel);
      };
      Effort silent = brief;
      silent.only_names = false;
      silent.deadline = std::chrono::steady_clock::time_point::max();
      const auto wants = [&](int rows) { return silent.wants(name(rows).text()); };
      return std::any_of(own.begin(), own.end(), wants) ||
             std::any_of(library.begin(), library.end(), wants);
    };
    const auto kernels = {"auto",    "few",  "tile32",  "tile64",
                          "tile128", "wide", "library", "for-rows"};
    if (std::none_of(kernels.begin(), kernels.end(), wanted)) continue;
    const int64_t most = effort.tiny || effort.only_names ? 9 : kMostRows;
    MatmulBench bench(runtime, brief, limits, shape, most);
    for (const int rows : own) {
      for (const Kernel& kernel : kKernels) bench.own(kernel, rows);
    }
    bench.library(library);
    bench.library_for_rows(library);
  }
}

}  // namespace deltaserve::gpu_bench
