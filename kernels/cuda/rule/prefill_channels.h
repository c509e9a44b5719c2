// Operands of a lane at four neighbouring channels, and decays per channel, for the token-parallel
// kernel of prefill.
//
// e^{G_i} e^{-G_j} apart would overflow. Tokens are taken in blocks of 16: rows carry the decay
// since the block's start, columns the decay to their block's end, and whole blocks lie between.
// Inside a block each pair has its own decay. All are running products of e^g, never exponentials
// of differences of sums: they keep their relative precision even if they are very small.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/prefill_chunk.h"

namespace deltaserve::cuda {

struct alignas(16) Four {
  float x[4];
};
DS_DEVICE Four splat(float x) {
  return {{x, x, x, x}};
}
DS_DEVICE void operator*=(Four& x, const Four& factor) {
  DS_UNROLL
  for (int c = 0; c < 4; ++c) x.x[c] *= factor.x[c];
}
DS_DEVICE float dot(const Four& a, const Four& b) {
  float sum = 0;
  DS_UNROLL
  for (int c = 0; c < 4; ++c) sum += a.x[c] * b.x[c];
  return sum;
}

// Holds the operands of token `i` in the key channels [channel, channel + 4), which have the
// indices 0 to 3 in its token(). All are zero for tokens from n on.
class TokenChannels {
 public:
  DS_DEVICE TokenChannels(const HeadTokens& tokens, int i, int n, int channel) : token_{} {
    if (i >= n) return;
    token_ = tokens.at(i);
    load(token_.q, channel, q_);
    load(token_.k, channel, k_);
    load(token_.r, channel, r_);
    load(token_.multiplier, channel, multiplier_);
    load(token_.erase_gate, channel, erase_gate_);
  }

  DS_DEVICE Token token() const {
    Token t = token_;
    t.q = q_.x;
    t.k = k_.x;
    t.r = r_.x;
    t.multiplier = multiplier_.x;
    t.erase_gate = erase_gate_.x;
    return t;
  }

 private:
  DS_DEVICE static void load(const float* from, int channel, Four& to) {
    if (from != nullptr) to = *reinterpret_cast<const Four*>(from + channel);
  }

  Token token_;
  Four q_{}, k_{}, r_{}, multiplier_{}, erase_gate_{};
};

inline constexpr int kStageChannels = 32;

// Decays of the channels of one stage, in shared memory; 1 for tokens after the chunk's last.
struct DecayStage {
  static constexpr int kStride = kStageChannels + 16;   // lanes of a warp use all banks
  alignas(16) float decay[kChunkTokens][kStride];       // e^g
  alignas(16) float from_start[kChunkTokens][kStride];  // of the block, up to the token
  alignas(16) float to_end[kChunkTokens][kStride];      // of the block, after the token
  alignas(16) float block[kChunkBlocks][kStride];

  // Returns the four channels of a lane in the `part`-th block of 16 channels.
  DS_DEVICE static Four at(const float (&rows)[kChunkTokens][kStride], int i, int part, int pair) {
    return *reinterpret_cast<const Four*>(&rows[i][part * kBlockTokens + 4 * pair]);
  }
  DS_DEVICE Four of_block(int b, int part, int pair) const {
    return *reinterpret_cast<const Four*>(&block[b][part * kBlockTokens + 4 * pair]);
  }

  // A thread for each block of tokens and channel.
  DS_DEVICE void fill(const HeadTokens& tokens, int n, int stage) {
    static_assert(kChunkBlocks * kStageChannels == 128);
    const int c = simt::thread_index() % kStageChannels;
    const int b = simt::thread_index() / kStageChannels;
    const int first = b * kBlockTokens;
    float product = 1;
    DS_UNROLL
    for (int i = first; i < first + kBlockTokens; ++i) {
      decay[i][c] = i < n ? expf(tokens.g.at(i)[stage * kStageChannels + c]) : 1.0f;
      product *= decay[i][c];
      from_start[i][c] = product;
    }
    block[b][c] = product;
    product = 1;
    DS_UNROLL
    for (int i = first + kBlockTokens - 1; i >= first; --i) {
      to_end[i][c] = product;
      product *= decay[i][c];
    }
  }
};

// Adds the products of a stage to the diagonal blocks of A and Q, two threads a row, each every
// other four of the channels: from the diagonal to the left, the row decaying by one token at a
// time.
template <class Mixer>
DS_DEVICE void add_diagonal_blocks(const HeadTokens& tokens, int n, int stage,
                                   const DecayStage& decays, float* a, float* reads) {
  constexpr int kFours = kStageChannels / 8;  // of a thread
  const int i = simt::thread_index() / 2;
  const int side = simt::thread_index() % 2;
  const int begin = i / kBlockTokens * kBlockTokens;
  Four row[kFours], read[kFours];
  DS_UNROLL
  for (int f = 0; f < kFours; ++f) {
    const TokenChannels own(tokens, i, n, stage * kStageChannels + 8 * f + 4 * side);
    DS_UNROLL
    for (int c = 0; c < 4; ++c) {
      row[f].x[c] = Mixer::erase(own.token(), c);
      read[f].x[c] = Mixer::read(own.token(), c);
    }
  }
  for (int distance = 0; distance < kBlockTokens; ++distance) {
    const int j = i - distance;
    float sums[2] = {0, 0};  // of Q, of A
    DS_UNROLL
    for (int f = 0; f < kFours; ++f) {
      if (i >= n || j < begin) continue;
      if (distance > 0) {
        const Four decay = *reinterpret_cast<const Four*>(&decays.decay[j + 1][8 * f + 4 * side]);
        row[f] *= decay;
        read[f] *= decay;
      }
      const TokenChannels t(tokens, j, n, stage * kStageChannels + 8 * f + 4 * side);
      Four write;
      DS_UNROLL
      for (int c = 0; c < 4; ++c) write.x[c] = Mixer::write(t.token(), c);
      sums[0] += dot(read[f], write);
      if constexpr (Mixer::kErases) sums[1] += dot(row[f], write);
    }
    simt::lanes_sum<2>(sums);
    if (j < begin) continue;
    const int at = i * kSquareStride + j;
    if (side == 0) {
      reads[at] += sums[0];
    } else if (distance > 0) {
      a[at] += sums[1];
    }
  }
}

}  // namespace deltaserve::cuda
