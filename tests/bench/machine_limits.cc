#include "tests/bench/machine_limits.h"

#include <time.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/matmul_support.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/machine_limits.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/dense-inl.h"

#ifndef DELTASERVE_TESTS_BENCH_LINK
#define DELTASERVE_TESTS_BENCH_LINK
namespace deltaserve {
enum class Link { kMultiplyAdd, kBf16Pairs, kByteQuads };
}  // namespace deltaserve
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {
using Int32s = hn::RebindToSigned<Floats>;
using Int32Vec = hn::Vec<Int32s>;

// Prevents the compiler from computing chains that start alike only once.
template <class V>
HWY_INLINE void keep_apart(V& vector) {
#if HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86
  asm volatile("" : "+v"(vector.raw));
#else
  (void)vector;
#endif
}

// Computes the links of twelve chains, which hide their latency. Returns how many there were.
template <class V, class Link>
HWY_INLINE int64_t run_chains(int64_t rounds, V factor, const Link& link, float* result) {
  constexpr int kChains = 12;
  const hn::DFromV<V> d;
  V sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = hn::Zero(d);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = link(sum[i], factor);
      keep_apart(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) sum[0] = hn::Xor(sum[0], sum[i]);
  *result = static_cast<float>(hn::GetLane(sum[0]));
  return rounds * kChains;
}

// Returns operations; 0 if this target has no such instruction.
double Chains(Link link, int64_t rounds, float* result) {
  const Floats d;
  switch (link) {
    case Link::kMultiplyAdd:
      return 2.0 * lanes() *
             static_cast<double>(run_chains(
                 rounds, hn::Set(d, 0.5f),
                 [](FloatVec sum, FloatVec x) HWY_ATTR { return hn::MulAdd(sum, x, x); }, result));
#if HWY_TARGET <= HWY_AVX3
    case Link::kBf16Pairs:
      return 4.0 * lanes() *
             static_cast<double>(run_chains(
                 rounds, hn::Set(d, 0.5f),
                 [](FloatVec sum, FloatVec x) HWY_ATTR {
                   asm("vdpbf16ps %1, %1, %0" : "+v"(sum.raw) : "v"(x.raw));
                   return sum;
                 },
                 result));
    case Link::kByteQuads:
      return 8.0 * lanes() *
             static_cast<double>(run_chains(
                 rounds, hn::Set(Int32s(), 1),
                 [](Int32Vec sum, Int32Vec x) HWY_ATTR {
                   asm("vpdpbusd %1, %1, %0" : "+v"(sum.raw) : "v"(x.raw));
                   return sum;
                 },
                 result));
#endif
    default: return 0;
  }
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
HWY_EXPORT(Chains);
HWY_EXPORT(ReadAll);

double seconds_now(const ThreadPool& threads) {
  timespec time = {};
  clock_gettime(threads.num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

namespace {

constexpr int kRepeats = 8;

double peak(Link link, ThreadPool& threads) {
  const auto n = static_cast<size_t>(threads.num_threads());
  std::vector<float> results(16 * n);
  std::vector<double> operations(n);
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds_now(threads);
    threads.parallel_for(static_cast<int64_t>(n), [&](int64_t task, int) {
      operations[static_cast<size_t>(task)] =
          HWY_DYNAMIC_DISPATCH(Chains)(link, 1 << 24, &results[static_cast<size_t>(16 * task)]);
    });
    double sum = 0;
    for (const double count : operations) sum += count;
    best = std::max(best, sum / (seconds_now(threads) - start));
  }
  return best;
}

}  // namespace

double fma_peak(ThreadPool& threads) {
  return peak(Link::kMultiplyAdd, threads);
}

double bf16_pair_peak(ThreadPool& threads) {
  const bool there = cpu::matmul_support().bf16 == cpu::Bf16Panels::kPairs;
  return there ? peak(Link::kBf16Pairs, threads) : 0;
}

double byte_quad_peak(ThreadPool& threads) {
  const bool there = cpu::matmul_support().integers == cpu::IntegerPath::kQuads;
  return there ? peak(Link::kByteQuads, threads) : 0;
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
  return sums[0] == 0 ? 0 : best;  // uses the sums, so that the loop is not optimised away
}

}  // namespace deltaserve
#endif
