// Working memory of one chunk of one head, carved out of a flat run of floats.
#pragma once
#include <cstdint>

#include "kernels/cpu/delta_rule_cpu.h"

namespace deltaserve::cpu {

// Kp, Vp: key and value size padded to 16 floats. With a null base only `floats` means anything.
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
    decay = take(kC * kC);
    log_decay = reinterpret_cast<double*>(take(2 * kC));
  }

  int64_t floats = 0;

  float* state;  // [Kp, Vp]  S, in place of the slot's S^T while a run of chunks lasts
  float* row;    // [64, Kp]  rows of A's product
  float* col;    // [Kp, 64]  its columns, transposed
  float* erase;  // [64, Kp]  e^G erase
  float* read;   // [64, Kp]
  float* write;  // [Kp, 64]  write, transposed
  float* a;      // [64, 64]  A, strictly lower
  float* reads;  // [64, 64]  Q, lower
  float* u;      // [64, Vp]
  float* o;      // [64, Vp]
  float* decay;  // [64, 64]  e^{G_i - G_j} for j <= i
  // [64] G, inclusive sums of g: double, or differences of large sums lose the small decays between
  // neighbours.
  double* log_decay;
};

}  // namespace deltaserve::cpu
