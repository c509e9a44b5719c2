// Functions that a drawing block uses on one row: visits of all values, sums and searches. A block
// has at most kMaxDrawThreads threads. The order of every sum depends only on the vocabulary.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda::logits_head {

inline constexpr int kMaxDrawThreads = 512;
inline constexpr int kMaxDrawWarps = kMaxDrawThreads / simt::kWarp;
inline constexpr int kMaxBlockSums = 16;

// The shared memory of a block, without the list of a Ranking.
struct DrawShared {
  double sums[kMaxDrawWarps][kMaxBlockSums];
  double totals[kMaxBlockSums];
  double parts[kMaxDrawWarps];
  uint64_t places[2][kMaxDrawWarps];
  uint64_t bounds[kMaxBlockSums / 2];
  int listed;
};

DS_DEVICE float minus_infinity() {
  return -std::numeric_limits<float>::infinity();
}
DS_DEVICE float without_nan(float x) {
  return x != x ? minus_infinity() : x;
}
DS_DEVICE bool is_finite(float x) {
  return (std::bit_cast<uint32_t>(x) & 0x7f800000u) != 0x7f800000u;
}

// A place orders tokens by likelihood: the smaller one is likelier, and of equal values the smaller
// id comes first. Its high word is of the value (no NaN; -0 is 0), its low word the token id.
DS_DEVICE uint32_t order_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value + 0.0f);
  return (bits >> 31) != 0 ? bits : 0x7fffffffu - bits;
}
DS_DEVICE uint64_t place_of(float value, int token) {
  return (uint64_t{order_of(value)} << 32) | static_cast<uint32_t>(token);
}
DS_DEVICE float value_at(uint64_t place) {
  const auto order = static_cast<uint32_t>(place >> 32);
  return std::bit_cast<float>((order >> 31) != 0 ? order : 0x7fffffffu - order);
}
DS_DEVICE int32_t token_at(uint64_t place) {
  return static_cast<int32_t>(static_cast<uint32_t>(place));
}
// Returns the place after all tokens of this value.
DS_DEVICE uint64_t place_behind(float value) {
  return (uint64_t{order_of(value)} + 1) << 32;
}
// A place after those of all tokens. Its token is -1.
inline constexpr uint64_t kNoPlace = ~uint64_t{0};

// visit(i, values[i]) for i = first, first + stride, ... below `end`. `kBatch` loads are under
// way at once.
template <int kBatch, class Visit>
DS_DEVICE void each_value(const float* values, int first, int end, int stride, const Visit& visit) {
  for (int i = first; i < end; i += kBatch * stride) {
    float batch[kBatch];
    DS_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      const int at = i + b * stride;
      batch[b] = at < end ? values[at] : 0.0f;
    }
    DS_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      const int at = i + b * stride;
      if (at >= end) continue;
      simt::note_reads(1);
      visit(at, batch[b]);
    }
  }
}

// Sums over the block's threads, into shared.totals until the next sums.
template <int Count>
DS_DEVICE void block_sums(double (&values)[Count], DrawShared& shared) {
  static_assert(Count <= kMaxBlockSums);
  simt::warp_sum(values);
  if (simt::lane_index() == 0) {
    DS_UNROLL
    for (int i = 0; i < Count; ++i) shared.sums[simt::warp_index()][i] = values[i];
  }
  simt::sync_block();
  if (simt::thread_index() < Count) {
    double total = 0;
    for (int w = 0; w < simt::block_threads() / simt::kWarp; ++w) {
      total += shared.sums[w][simt::thread_index()];
    }
    shared.totals[simt::thread_index()] = total;
  }
  simt::sync_block();
}

// Finds the least of the block's places, of two kinds.
DS_DEVICE void block_least(uint64_t (&places)[2], DrawShared& shared) {
  for (int kind = 0; kind < 2; ++kind) {
    const uint64_t least = simt::warp_min(places[kind]);
    if (simt::lane_index() == 0) shared.places[kind][simt::warp_index()] = least;
  }
  simt::sync_block();
  for (int kind = 0; kind < 2; ++kind) {
    for (int w = 0; w < simt::block_threads() / simt::kWarp; ++w) {
      const uint64_t place = shared.places[kind][w];
      places[kind] = place < places[kind] ? place : places[kind];
    }
  }
  simt::sync_block();
}

// A run of items in the order of a cumulative sum; `before` is the sum of all before it.
struct Run {
  int begin = 0;
  int end = 0;
  double before = 0;

  DS_DEVICE int warp_items() const {
    const int warps = simt::block_threads() / simt::kWarp;
    return (end - begin + warps - 1) / warps;
  }
};

// A search finds the first item whose cumulative sum exceeds `target` or, with `reach`, reaches it.
struct Goal {
  double target = 0;
  bool reach = false;

  DS_DEVICE bool met(double sum) const { return reach ? sum >= target : sum > target; }
};

// Sums the run's items in contiguous parts, one per warp, into shared.parts; returns the sum of
// all. items.lane_sum(begin, end) returns the sum of this lane's share of the weights.
template <class Items>
DS_DEVICE double sum_parts(const Items& items, const Run& run, DrawShared& shared) {
  const int begin = run.begin + simt::warp_index() * run.warp_items();
  const int end = begin + run.warp_items() < run.end ? begin + run.warp_items() : run.end;
  double sum[1] = {items.lane_sum(begin, end)};
  simt::warp_sum(sum);
  simt::sync_block();  // no thread still reads older parts
  if (simt::lane_index() == 0) shared.parts[simt::warp_index()] = sum[0];
  simt::sync_block();
  double total = 0;
  for (int w = 0; w < simt::block_threads() / simt::kWarp; ++w) total += shared.parts[w];
  return total;
}

// Returns the part of `run`, whose sums are in shared.parts, that meets the goal. If the goal is
// beyond the end because of rounding, returns the last part with a weight above 0.
DS_DEVICE Run chosen_part(const Run& run, const Goal& goal, const DrawShared& shared) {
  Run chosen = {run.begin, run.begin + 1, run.before};
  double sum = run.before;
  for (int w = 0; w < simt::block_threads() / simt::kWarp; ++w) {
    if (shared.parts[w] <= 0) continue;
    chosen.begin = run.begin + w * run.warp_items();
    chosen.end = chosen.begin + run.warp_items() < run.end ? chosen.begin + run.warp_items()  //
                                                           : run.end;
    chosen.before = sum;
    sum += shared.parts[w];
    if (goal.met(sum)) break;
  }
  return chosen;
}

// Returns the item of `run`, whose sums are in shared.parts, that meets the goal, with the sum of
// all before it.
template <class Items>
DS_DEVICE Run locate(const Items& items, Run run, const Goal& goal, DrawShared& shared) {
  while (true) {
    run = chosen_part(run, goal, shared);
    if (run.end - run.begin == 1) return run;
    sum_parts(items, run, shared);
  }
}

}  // namespace deltaserve::cuda::logits_head
