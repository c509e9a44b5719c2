// The working memory of one chunk of one head, carved out of one array of floats.
#pragma once
#include <cstdint>

#include "kernels/cpu/delta_rule_cpu.h"

namespace deltaserve::cpu {

// Number of rows that share an anchor of their decays, for a decay per channel.
inline constexpr int64_t kAnchorRows = 16;

// Kp, Vp: key and value size padded to 16 floats. With a null base only `floats` is valid. G_i is
// the sum of the log decays of tokens 0..i of the chunk, n its last token.
struct ChunkBuffers {
  ChunkBuffers(const HeadShape& shape, float* base) {
    constexpr int64_t kC = kChunkTokens;
    const int64_t kp = shape.key_stride();
    const int64_t vp = shape.value_stride();
    const auto take = [&](int64_t count) {
      float* begin = base == nullptr ? nullptr : base + floats;
      floats += count;
      return begin;
    };
    state = take(kp * vp);
    row = take(kC * kp);
    col = take(kC * kp);
    erase = take(kC * kp);
    read = take(kC * kp);
    write = take(kC * kp);
    a = take(kC * kC);
    reads = take(kC * kC);
    u = take(kC * vp);
    o = take(kC * vp);
    state_decay = take(kp);
    decay = take(kC * (kp > kC ? kp : kC));
    log_decay = reinterpret_cast<double*>(take(2 * kC));
    write_rows = take(kC * kp);
    anchored_row = take(kAnchorRows * kp);
    anchored_read = take(kAnchorRows * kp);
    block_decay = take(kp);
  }

  int64_t floats = 0;

  float* state;        // [Kp, Vp]  S; replaces the slot's S^T during a run of chunks
  float* row;          // [64, Kp]  left factor of A
  float* col;          // [Kp, 64]  right factor of A, transposed, if it is not `write`
  float* erase;        // [64, Kp]  e^G erase
  float* read;         // [64, Kp]  read, then e^G read
  float* write;        // [Kp, 64]  write, transposed, then e^{G_n - G} write
  float* a;            // [64, 64]  A, strictly lower
  float* reads;        // [64, 64]  Q, lower
  float* u;            // [64, Vp]
  float* o;            // [64, Vp]
  float* state_decay;  // [Kp]      e^{G_n}

  // Decays: per head [64, 64] e^{G_i - G_j} for j <= i; per channel [64, Kp] e^g.
  float* decay;
  // [64] G of a decay per head. It is double, because differences of large sums would lose the
  // small decays between neighbours.
  double* log_decay;

  // Buffers of a decay per channel: see channel_decay-inl.h.
  float* write_rows;     // [64, Kp]
  float* anchored_row;   // [16, Kp]
  float* anchored_read;  // [16, Kp]
  float* block_decay;    // [Kp]
};

}  // namespace deltaserve::cpu
