// The matrices of one chunk under a decay per channel, per Highway target:
//   A_ij = sum_c e^{G_ic - G_jc} row_ic write_jc,  Q_ij the same with read.
//
// The factors e^{G_i} and e^{-G_j} alone would overflow. Therefore rows are taken in blocks of 16
// that share an anchor, the last token before the block. Rows carry e^{G_i - anchor} and the
// columns before the block e^{anchor - G_j}, both at most 1, so a dense matmul gives that part.
// Inside a block each pair has its own decay. All decays are running products of e^g, never
// exponentials of differences of sums. So they keep their relative precision even if they are very
// small.

#if defined(DELTASERVE_KERNELS_CPU_CHANNEL_DECAY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_CHANNEL_DECAY_INL_H_
#undef DELTASERVE_KERNELS_CPU_CHANNEL_DECAY_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_CHANNEL_DECAY_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/base/math-inl.h"
#include "kernels/cpu/rule/chunk_buffers.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// x *= y
HWY_INLINE void multiply_by(const float* HWY_RESTRICT y, int64_t n, float* HWY_RESTRICT x) {
  const Floats d;
  for (int64_t c = 0; c < n; c += lanes()) {
    hn::Store(hn::Mul(hn::Load(d, x + c), hn::Load(d, y + c)), d, x + c);
  }
}

// x *= decay, then x . write
HWY_INLINE float decay_and_dot(const float* HWY_RESTRICT decay, const float* HWY_RESTRICT write,
                               int64_t n, float* HWY_RESTRICT x) {
  const Floats d;
  FloatVec sum = hn::Zero(d);
  for (int64_t c = 0; c < n; c += lanes()) {
    const FloatVec decayed = hn::Mul(hn::Load(d, x + c), hn::Load(d, decay + c));
    hn::Store(decayed, d, x + c);
    sum = hn::MulAdd(decayed, hn::Load(d, write + c), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// Computes rows [begin, end) of A and Q inside the block, going from the diagonal to the left while
// the row decays by one token at a time. Uses the anchored rows as scratch memory.
template <bool kErases>
HWY_INLINE void diagonal_block(int64_t kp, int64_t begin, int64_t end, const cpu::ChunkBuffers& b) {
  constexpr int64_t kC = kChunkTokens;
  for (int64_t i = begin; i < end; ++i) {
    float* row = b.anchored_row;
    float* read = b.anchored_read;
    if constexpr (kErases) std::copy_n(b.row + i * kp, kp, row);
    std::copy_n(b.read + i * kp, kp, read);
    b.reads[i * kC + i] = dot(read, b.write_rows + i * kp, kp);
    for (int64_t j = i - 1; j >= begin; --j) {
      const float* decay = b.decay + (j + 1) * kp;
      const float* write = b.write_rows + j * kp;
      if constexpr (kErases) b.a[i * kC + j] = decay_and_dot(decay, write, kp, row);
      b.reads[i * kC + j] = decay_and_dot(decay, write, kp, read);
    }
    if constexpr (kErases) std::fill(b.a + i * kC + i, b.a + (i + 1) * kC, 0.0f);
    std::fill(b.reads + i * kC + i + 1, b.reads + (i + 1) * kC, 0.0f);
  }
}

// Computes anchored_* = e^{G_i - anchor} of the block's rows, and block_decay = e^{G - anchor} of
// its last row.
template <bool kErases>
HWY_INLINE void anchor_rows(int64_t kp, int64_t begin, int64_t end, const cpu::ChunkBuffers& b) {
  const Floats d;
  std::fill_n(b.block_decay, kp, 1.0f);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = (i - begin) * kp;
    for (int64_t c = 0; c < kp; c += lanes()) {
      const FloatVec decay =
          hn::Mul(hn::Load(d, b.block_decay + c), hn::Load(d, b.decay + i * kp + c));
      hn::Store(decay, d, b.block_decay + c);
      hn::Store(hn::Mul(decay, hn::Load(d, b.read + i * kp + c)), d, b.anchored_read + at + c);
      if constexpr (kErases) {
        hn::Store(hn::Mul(decay, hn::Load(d, b.row + i * kp + c)), d, b.anchored_row + at + c);
      }
    }
  }
}

// Moves the columns of `write` to the anchor after the block, and adds the block's own columns.
HWY_INLINE void advance_columns(int64_t kp, int64_t begin, int64_t end,
                                const cpu::ChunkBuffers& b) {
  constexpr int64_t kC = kChunkTokens;
  const Floats d;
  for (int64_t c = 0; c < kp; ++c) {
    const FloatVec decay = hn::Set(d, b.block_decay[c]);
    for (int64_t j = 0; j < begin; j += lanes()) {  // begin is a multiple of 16
      hn::StoreU(hn::Mul(hn::LoadU(d, b.write + c * kC + j), decay), d, b.write + c * kC + j);
    }
    float to_end = 1;
    for (int64_t j = end - 1; j >= begin; --j) {
      b.write[c * kC + j] = b.write_rows[j * kp + c] * to_end;
      to_end *= b.decay[j * kp + c];
    }
  }
}

// Computes a, reads, erase = e^G row, read = e^G read, write = e^{G_n - G} write and state_decay =
// e^{G_n} from row, read, write_rows and decay = e^g of n tokens.
template <bool kErases>
HWY_INLINE void weigh_by_channel(int64_t kp, int64_t n, const cpu::ChunkBuffers& b) {
  constexpr int64_t kC = kChunkTokens;
  std::fill_n(b.state_decay, kp, 1.0f);
  for (int64_t begin = 0; begin < n; begin += cpu::kAnchorRows) {
    const int64_t end = std::min(n, begin + cpu::kAnchorRows);
    diagonal_block<kErases>(kp, begin, end, b);
    anchor_rows<kErases>(kp, begin, end, b);
    if (begin > 0) {
      dense_matmul(b.anchored_read, kp, b.write, kC, end - begin, kp, begin, false,
                   b.reads + begin * kC, kC);
      if constexpr (kErases) {
        dense_matmul(b.anchored_row, kp, b.write, kC, end - begin, kp, begin, false,
                     b.a + begin * kC, kC);
      }
    }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = (i - begin) * kp;
      std::copy_n(b.anchored_read + at, kp, b.read + i * kp);
      multiply_by(b.state_decay, kp, b.read + i * kp);
      if constexpr (kErases) {
        std::copy_n(b.anchored_row + at, kp, b.erase + i * kp);
        multiply_by(b.state_decay, kp, b.erase + i * kp);
      }
    }
    advance_columns(kp, begin, end, b);
    multiply_by(b.block_decay, kp, b.state_decay);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
