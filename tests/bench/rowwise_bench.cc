// Measures the passes over rows of activations (convolution, norms, gates), at the sizes of
// gdn-303m and with the rows of one step, which the last-level cache holds. It compares them with
// the limits of the machine: plain reads beyond the caches, and float multiply-adds.
//
//     rowwise_bench [threads [rows]]
//
// Bytes are those that a pass reads and writes of activations, each once; FLOPs are its additions
// and multiplications, and an exponential or logarithm counts as one.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "kernels/cpu/rowwise.h"
#include "tests/bench/machine_limits.h"

namespace deltaserve {
namespace {

constexpr int64_t kRowsPerTask = 16;
constexpr int kRounds = 41;
constexpr int64_t kHidden = 1024;
constexpr int64_t kChannels = 3 * kHidden;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kIntermediate = 2816;
constexpr int64_t kVocab = 32000;
constexpr int kConvWidth = 4;

std::vector<float> random_floats(int64_t count) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

class Bench {
 public:
  Bench(ThreadPool& threads, int64_t rows)
      : threads_(threads),
        rows_(rows),
        in_(random_floats((rows + kConvWidth) * kVocab)),
        out_(static_cast<size_t>(rows * kVocab)),
        weights_(random_floats(kConvWidth * kVocab)) {}

  // One pass; `floats` and `flops` are the memory traffic and the operations per row.
  struct Pass {
    const char* name;
    int64_t columns;  // columns of the input
    int64_t floats;
    int64_t flops;
    std::function<void(const float* in, float* out)> body;  // computes one row
  };

  void run(const Pass& pass, double reads, double peak) {
    std::vector<double> times;
    for (int i = 0; i <= kRounds; ++i) {
      const double begin = seconds_now(threads_);
      threads_.parallel_for((rows_ + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
        const int64_t end = std::min(rows_, (task + 1) * kRowsPerTask);
        for (int64_t r = task * kRowsPerTask; r < end; ++r) {
          pass.body(in_.data() + r * pass.columns, out_.data() + r * pass.columns);
        }
      });
      if (i > 0) times.push_back(seconds_now(threads_) - begin);  // the first run warms up
    }
    std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
    const double seconds = times[kRounds / 2] / static_cast<double>(rows_);
    const auto bytes = static_cast<double>(pass.floats) * sizeof(float);
    const auto flops = static_cast<double>(pass.flops);
    std::printf(
        "%-34s %7.0f B %7.0f FLOP %7.2f us %6.1f GB/s %4.0f%% of reads %6.1f GF/s %3.0f%%\n",
        pass.name, bytes, flops, seconds * 1e6, bytes / seconds / 1e9,
        100 * bytes / seconds / reads, flops / seconds / 1e9, 100 * flops / seconds / peak);
  }
  const float* weights() const { return weights_.data(); }

 private:
  ThreadPool& threads_;
  int64_t rows_;
  std::vector<float> in_, out_, weights_;
};

void each_head(float* row, int64_t columns, const std::function<void(float*)>& visit) {
  for (int64_t c = 0; c < columns; c += kHeadDim) visit(row + c);
}

void run(int num_threads, int64_t rows) {
  ThreadPool threads(num_threads);
  const double peak = fma_peak(threads);
  const double reads = read_bandwidth(threads);
  std::printf("%d threads: %.0f GFLOP/s of float multiply-adds, reads at %.1f GB/s; a row:\n",
              num_threads, peak / 1e9, reads / 1e9);
  Bench bench(threads, rows);
  const float* w = bench.weights();
  const Bench::Pass passes[] = {
      {"RMSNorm 1024", kHidden, 2 * kHidden, 4 * kHidden,
       [=](const float* in, float* out) { cpu::rms_norm_row(in, w, 1e-6f, kHidden, out); }},
      {"convolution of 4 and SiLU, 3072", kChannels, 2 * kChannels, 12 * kChannels,
       [=](const float* in, float* out) {
         const float* taps[kConvWidth];
         for (int j = 0; j < kConvWidth; ++j) taps[j] = in + j * kChannels;
         cpu::conv_row(taps, w, kChannels, kConvWidth, nullptr, true, kChannels, out);
       }},
      {"l2 norm of 16 heads of 128", 2 * kHidden, 4 * kHidden, 3 * 2 * kHidden,
       [](const float*, float* out) {
         each_head(out, 2 * kHidden,
                   [](float* x) { cpu::feature_norm_row(FeatureNorm::kL2, x, kHeadDim); });
       }},
      {"log decay of 1024 channels (KDA)", kHidden, 2 * kHidden, 7 * kHidden,
       [=](const float* in, float* out) {
         cpu::decay_gate_row(DecayGate::kSoftplus, in, w, 0.5f, 0, kHidden, out);
       }},
      {"RMSNorm of 8 heads and SiLU gate", kHidden, 3 * kHidden, 9 * kHidden,
       [=](const float* in, float* out) {
         each_head(out, kHidden, [=](float* x) { cpu::rms_norm_row(x, w, 1e-6f, kHeadDim, x); });
         cpu::gate_row(Activation::kSilu, in, out, kHidden, out);
       }},
      {"SwiGLU 2816", 2 * kIntermediate, 3 * kIntermediate, 5 * kIntermediate,
       [](const float* in, float* out) {
         cpu::gate_row(Activation::kSilu, in, in + kIntermediate, kIntermediate, out);
       }},
      {"log-sum-exp of 32000 logits", kVocab, kVocab, 4 * kVocab,
       [](const float* in, float* out) { cpu::log_sum_exp(in, kVocab, out); }},
  };
  for (const Bench::Pass& pass : passes) bench.run(pass, reads, peak);
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  if (argc > 3) {
    std::fprintf(stderr, "usage: rowwise_bench [threads [rows]]\n");
    return 2;
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int64_t rows = argc > 2 ? std::atoi(argv[2]) : 512;
  if (rows < 1 || rows > 4096) return 2;
  deltaserve::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : cores, rows);
}
