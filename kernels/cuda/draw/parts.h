// A row's logits are divided into parts of 64 tokens. A first launch, whose blocks use the whole
// device, writes for each part its most likely token and two sums relative to that token, so that
// the drawing block reads only 1/64 of the row. Whether a sum is read depends on the row's
// settings; the order of its additions depends only on the vocabulary.
#pragma once
#include "kernels/cuda/draw/candidates.h"
#include "kernels/cuda/draw/draw.h"

namespace deltaserve::cuda::logits_head {

// Returns true if the row draws among all tokens, each with its own weight.
DS_DEVICE bool draws_from_parts(const DeviceDraw& row, int vocab) {
  const bool limited = (row.top_k > 0 && row.top_k < vocab) || row.top_p < 1 || row.min_p > 0;
  return row.sample && is_warm(row.temperature) && !limited && row.num_adjustments == 0 &&
         row.allowed < 0;
}

inline constexpr int kPartThreads = 256;
// The number of parts whose loads are under way at once.
inline constexpr int kWarpParts = 4;
inline constexpr int kBlockParts = kWarpParts * kPartThreads / simt::kWarp;

// Prefetches a block's piece of the memory that is read next. With many blocks the last ones have
// no piece.
DS_DEVICE void ask_for_weights(const EvaluateCall& call, int block) {
  constexpr int64_t kPiece = int64_t{1} << 19;
  const int64_t begin = block * kPiece;
  if (begin >= call.next_bytes) return;
  const int64_t left = call.next_bytes - begin;
  simt::prefetch(static_cast<const unsigned char*>(call.next_weights) + begin,
                 static_cast<uint32_t>(left < kPiece ? left : kPiece));
}

// Computes the parts of a row for one warp, of which the first is `first`.
class WarpParts {
 public:
  DS_DEVICE WarpParts(const EvaluateCall& call, int row, int first)
      : row_(call.rows[row]),
        logits_(call.logits + row * call.logits_stride),
        parts_(call.parts + row * num_parts(call.vocab)),
        vocab_(static_cast<int>(call.vocab)),
        first_(first) {}

  DS_DEVICE void run() const {
    float values[kWarpParts][kLaneTokens];
    DS_UNROLL
    for (int i = 0; i < kWarpParts; ++i) {
      DS_UNROLL
      for (int t = 0; t < kLaneTokens; ++t) {
        values[i][t] = token(i, t) < vocab_ ? logits_[token(i, t)] : minus_infinity();
      }
    }
    uint64_t leaders[kWarpParts];
    double sums[2 * kWarpParts];
    const bool draws = draws_from_parts(row_, vocab_);
    DS_UNROLL
    for (int i = 0; i < kWarpParts; ++i) {
      leaders[i] = leader(i, values[i]);
      const Candidates own = relative_to(leaders[i], 1);
      const Candidates drawn = relative_to(leaders[i], row_.temperature);
      sums[i] = sum(own, values[i]);
      sums[kWarpParts + i] = draws ? sum(drawn, values[i]) : 0.0;
    }
    simt::warp_sum(sums);
    if (simt::lane_index() != 0) return;
    DS_UNROLL
    for (int i = 0; i < kWarpParts; ++i) {
      const int part = first_ + i;
      if (part < num_parts(vocab_)) parts_[part] = {leaders[i], sums[i], sums[kWarpParts + i]};
    }
  }

 private:
  static constexpr int kLaneTokens = kPartTokens / simt::kWarp;

  DS_DEVICE int token(int i, int t) const {
    return (first_ + i) * kPartTokens + t * simt::kWarp + simt::lane_index();
  }
  DS_DEVICE uint64_t leader(int i, const float (&values)[kLaneTokens]) const {
    uint64_t least = kNoPlace;
    DS_UNROLL
    for (int t = 0; t < kLaneTokens; ++t) {
      if (token(i, t) >= vocab_) continue;
      simt::note_reads(1);
      const uint64_t place = place_of(without_nan(values[t]), token(i, t));
      least = place < least ? place : least;
    }
    return simt::warp_min(least);
  }
  static DS_DEVICE Candidates relative_to(uint64_t leader, float temperature) {
    return {nullptr, nullptr, 0, value_at(leader), temperature, 1 / temperature};
  }
  // Returns this lane's share of the sum. A part whose leader is not a finite number has no
  // distribution.
  static DS_DEVICE double sum(const Candidates& of, const float (&values)[kLaneTokens]) {
    double sum = 0;
    if (!is_finite(of.max)) return sum;
    DS_UNROLL
    for (int t = 0; t < kLaneTokens; ++t) sum += of.weight(without_nan(values[t]));
    return sum;
  }

  const DeviceDraw& row_;
  const float* logits_;
  LogitsPart* parts_;
  int vocab_;
  int first_;
};

// The parts of a row, in order, as sum_parts() and locate() add them up relative to the most likely
// token of the row.
struct PartItems {
  const LogitsPart* parts;
  Candidates from;
  bool weighs;  // true: sums weights; false: sums masses

  DS_DEVICE double lane_sum(int begin, int end) const {
    double total = 0;
    for (int i = begin + simt::lane_index(); i < end; i += simt::kWarp) total += weight(i);
    return total;
  }

 private:
  DS_DEVICE double weight(int i) const {
    const float scaled = from.scaled(value_at(parts[i].leader));
    const double sum = weighs ? parts[i].weight : parts[i].mass;
    return scaled > kLeastExponent ? sum * exp(static_cast<double>(scaled)) : 0.0;
  }
};

}  // namespace deltaserve::cuda::logits_head
