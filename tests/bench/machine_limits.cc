#include "tests/bench/machine_limits.h"

#include <time.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/aligned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/machine_limits.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = HWY_CAPPED(float, 16);

// Twelve chains hide the latency. Returns the operations done.
double MultiplyAdds(int64_t rounds, float* result) {
  const Floats d;
  const auto factor = hn::Set(d, *result);
  auto a = hn::Zero(d), b = a, c = a, e = a, f = a, g = a;
  auto h = a, i = a, j = a, k = a, l = a, m = a;
  for (int64_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, factor, factor), b = hn::MulAdd(b, factor, factor);
    c = hn::MulAdd(c, factor, factor), e = hn::MulAdd(e, factor, factor);
    f = hn::MulAdd(f, factor, factor), g = hn::MulAdd(g, factor, factor);
    h = hn::MulAdd(h, factor, factor), i = hn::MulAdd(i, factor, factor);
    j = hn::MulAdd(j, factor, factor), k = hn::MulAdd(k, factor, factor);
    l = hn::MulAdd(l, factor, factor), m = hn::MulAdd(m, factor, factor);
    // Chains that start alike would be computed once.
#if HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86
    asm volatile("" : "+v"(a.raw), "+v"(b.raw), "+v"(c.raw), "+v"(e.raw), "+v"(f.raw));
    asm volatile("" : "+v"(g.raw), "+v"(h.raw), "+v"(i.raw), "+v"(j.raw), "+v"(k.raw));
    asm volatile("" : "+v"(l.raw), "+v"(m.raw));
#endif
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(f, g));
  const auto more = hn::Add(hn::Add(hn::Add(h, i), hn::Add(j, k)), hn::Add(l, m));
  *result = hn::GetLane(hn::Add(sum, more));
  return 2.0 * 12 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

uint64_t ReadAll(const uint64_t* from, size_t count) {
  const hn::ScalableTag<uint64_t> d;
  const size_t n = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t i = 0; i + 4 * n <= count; i += 4 * n) {
    a = hn::Add(a, hn::Load(d, from + i)), b = hn::Add(b, hn::Load(d, from + i + n));
    c = hn::Add(c, hn::Load(d, from + i + 2 * n)), e = hn::Add(e, hn::Load(d, from + i + 3 * n));
  }
  return hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(ReadAll);

namespace {
constexpr int kRepeats = 8;
}

double seconds_now(const ThreadPool& threads) {
  timespec time = {};
  clock_gettime(threads.num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double fma_peak(ThreadPool& threads) {
  const auto n = static_cast<size_t>(threads.num_threads());
  std::vector<float> results(16 * n, 0.5f);
  std::vector<double> operations(n);
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds_now(threads);
    threads.parallel_for(static_cast<int64_t>(n), [&](int64_t task, int) {
      operations[static_cast<size_t>(task)] =
          HWY_DYNAMIC_DISPATCH(MultiplyAdds)(1 << 24, &results[static_cast<size_t>(16 * task)]);
    });
    double sum = 0;
    for (const double count : operations) sum += count;
    best = std::max(best, sum / (seconds_now(threads) - start));
  }
  return best;
}

double read_bandwidth(ThreadPool& threads) {
  constexpr size_t kWords = size_t{64} << 20;  // 512 MiB
  constexpr int64_t kPieces = 256;
  const cpu::AlignedArray<uint64_t> buffer = cpu::allocate_aligned<uint64_t>(kWords);
  std::fill_n(buffer.get(), kWords, 1);
  std::vector<uint64_t> sums(kPieces);
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds_now(threads);
    threads.parallel_for(kPieces, [&](int64_t piece, int) {
      sums[static_cast<size_t>(piece)] += HWY_DYNAMIC_DISPATCH(ReadAll)(
          buffer.get() + static_cast<size_t>(piece) * (kWords / kPieces), kWords / kPieces);
    });
    best = std::max(best, 8.0 * kWords / (seconds_now(threads) - start));
  }
  return sums[0] == 0 ? 0 : best;  // uses the sums, or the loop would be optimised away
}

}  // namespace deltaserve
#endif
