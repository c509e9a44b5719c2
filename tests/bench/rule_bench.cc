// Measures the rule of every mixer on the states of many heads and compares it with the limits of
// the machine: decode with the bandwidth of plain reads, prefill with the peak of float
// multiply-adds, both measured in the same run.
//
//     rule_bench [threads [key_dim value_dim]]
//
// Decode uses enough states in turn that they leave the caches, and counts each state read and
// written once; prefill runs chunks of 64 tokens on states that stay in the caches.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "kernels/cpu/base/aligned.h"
#include "kernels/cpu/rule/delta_rule_cpu.h"
#include "tests/bench/machine_limits.h"

namespace deltaserve {
namespace {

constexpr int64_t kStateBytes = int64_t{256} << 20;  // states of all heads in decode
constexpr int64_t kPrefillTokens = 512;
constexpr int64_t kPrefillHeads = 16;
constexpr int kRounds = 7;

// The operands of a run of tokens, which every head reads.
class Operands {
 public:
  Operands(const HeadShape& shape, Decay decay, int64_t tokens)
      : width_(std::max(shape.key_dim, shape.value_dim)) {
    const auto fill = [&](float low, float high) {
      std::uniform_real_distribution<float> uniform(low, high);
      std::vector<float> values(static_cast<size_t>(tokens * width_));
      for (float& value : values) value = uniform(random_);
      return values;
    };
    const float unit = 1.5f / std::sqrt(static_cast<float>(shape.key_dim));
    q_ = fill(-unit, unit);
    k_ = fill(-unit, unit);
    v_ = fill(-1, 1);
    g_ = fill(-0.1f, 0);
    gate_ = fill(0, 1);
    tokens_.q = tokens_.r = rows(q_);
    tokens_.k = rows(k_);
    tokens_.v = rows(v_);
    if (decay != Decay::kNone) tokens_.g = rows(g_);
    tokens_.multiplier = tokens_.erase_gate = tokens_.write_gate = rows(gate_);
    tokens_.beta = tokens_.lambda = rows(gate_);
  }
  const HeadTokens& tokens() const { return tokens_; }

 private:
  TokenRows rows(const std::vector<float>& values) const { return {values.data(), width_}; }

  int64_t width_;
  std::mt19937 random_{1};
  std::vector<float> q_, k_, v_, g_, gate_;
  HeadTokens tokens_;
};

class Bench {
 public:
  Bench(const HeadShape& shape, ThreadPool& threads)
      : shape_(shape),
        threads_(threads),
        state_floats_(shape.value_dim * shape.key_stride()),
        heads_(std::max(kPrefillHeads, kStateBytes / (4 * state_floats_))),
        states_(cpu::allocate_aligned<float>(static_cast<size_t>(heads_ * state_floats_))),
        out_(static_cast<size_t>(std::max(heads_, kPrefillHeads * kPrefillTokens) *
                                 shape.value_dim)),
        scratch_floats_(cpu::delta_scratch_floats(shape)),
        scratch_(cpu::allocate_aligned<float>(
            static_cast<size_t>(scratch_floats_ * threads.num_threads()))) {
    if (states_ == nullptr || scratch_ == nullptr) std::abort();
  }

  // Returns the seconds for one token of every head.
  double decode(MixerKind kind, StateFormat format) {
    const Operands operands(shape_, decay_of(kind), 1);
    std::fill_n(states_.get(), heads_ * state_floats_, 0.0f);
    return median_seconds([&] {
      threads_.parallel_for(heads_, [&](int64_t head, int thread) {
        cpu::delta_decode(kind, shape_, operands.tokens(), 1, state(head, format),
                          out_.data() + head * shape_.value_dim, 0, scratch(thread));
      });
    });
  }
  // Returns the seconds for kPrefillTokens tokens of kPrefillHeads heads.
  double prefill(MixerKind kind) {
    const Operands operands(shape_, decay_of(kind), kPrefillTokens);
    return median_seconds([&] {
      threads_.parallel_for(kPrefillHeads, [&](int64_t head, int thread) {
        cpu::delta_prefill(kind, shape_, operands.tokens(), kPrefillTokens, true,
                           state(head, StateFormat::kF32),
                           out_.data() + head * kPrefillTokens * shape_.value_dim, shape_.value_dim,
                           scratch(thread));
      });
    });
  }
  int64_t heads() const { return heads_; }

 private:
  HeadState state(int64_t head, StateFormat format) const {
    const int64_t bytes = state_floats_ * static_cast<int64_t>(state_format_size(format));
    return {reinterpret_cast<unsigned char*>(states_.get()) + head * bytes, format};
  }
  float* scratch(int thread) const { return scratch_.get() + thread * scratch_floats_; }

  template <class Body>
  double median_seconds(const Body& body) {
    std::vector<double> times;
    for (int i = 0; i <= kRounds; ++i) {
      const double begin = seconds_now(threads_);
      body();
      if (i > 0) times.push_back(seconds_now(threads_) - begin);  // the first run warms up
    }
    std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
    return times[kRounds / 2];
  }

  HeadShape shape_;
  ThreadPool& threads_;
  int64_t state_floats_;
  int64_t heads_;
  cpu::AlignedArray<float> states_;
  std::vector<float> out_;
  int64_t scratch_floats_;
  cpu::AlignedArray<float> scratch_;
};

void print_decode(const char* name, const char* dtype, double seconds, double bytes, double flops,
                  double bandwidth) {
  std::printf("%-24s decode %-5s %8.1f MB %7.1f MFLOP %6.1f GB/s %4.0f%% of reads %6.1f GF/s\n",
              name, dtype, bytes / 1e6, flops / 1e6, bytes / seconds / 1e9,
              100 * bytes / seconds / bandwidth, flops / seconds / 1e9);
}

void run(int num_threads, const HeadShape& shape) {
  ThreadPool threads(num_threads);
  const double peak = fma_peak(threads);
  const double bandwidth = read_bandwidth(threads);
  std::printf("%d threads: %.0f GFLOP/s of float multiply-adds, reads at %.1f GB/s; K %ld, V %ld\n",
              num_threads, peak / 1e9, bandwidth / 1e9, shape.key_dim, shape.value_dim);
  Bench bench(shape, threads);
  const auto cells = static_cast<double>(shape.key_dim * shape.value_dim);
  const auto chunk = static_cast<double>(kChunkTokens * (shape.key_dim + shape.value_dim));
  for (const MixerKind kind : kAllMixers) {
    const bool erases = dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kErases; });
    const auto heads = static_cast<double>(bench.heads());
    // These are reads, decay and write, and the erase.
    const double decode_flops = heads * cells * (erases ? 7 : 5);
    print_decode(mixer_name(kind), "f32", bench.decode(kind, StateFormat::kF32), 8 * heads * cells,
                 decode_flops, bandwidth);
    if (decay_of(kind) != Decay::kNone) {
      print_decode(mixer_name(kind), "bf16", bench.decode(kind, StateFormat::kBf16),
                   4 * heads * cells, decode_flops, bandwidth);
    }
    // Per token the state is read and written, with an erase read twice, and half of the chunk's
    // triangles of keys (A, Q) and values (their matmuls with U) are computed.
    const double tokens = kPrefillTokens * kPrefillHeads;
    const double flops = tokens * (erases ? 6 * cells + 2 * chunk : 4 * cells + chunk);
    const double seconds = bench.prefill(kind);
    std::printf("%-24s prefill     %8.0f token-heads/ms %6.1f GF/s %4.0f%% of multiply-adds\n",
                mixer_name(kind), tokens / seconds / 1e3, flops / seconds / 1e9,
                100 * flops / seconds / peak);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  if (argc != 1 && argc != 2 && argc != 4) {
    std::fprintf(stderr, "usage: rule_bench [threads [key_dim value_dim]]\n");
    return 2;
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  deltaserve::HeadShape shape = {128, 128};
  if (argc == 4) shape = {std::atoi(argv[2]), std::atoi(argv[3])};
  if (shape.key_dim < 1 || shape.value_dim < 1) return 2;
  deltaserve::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : cores, shape);
}
