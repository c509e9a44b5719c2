#include <algorithm>
#include <cmath>

#include "kernels/cpu/chunk_buffers.h"
#include "kernels/cpu/delta_rule_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/delta_prefill.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

using cpu::ChunkBuffers;

constexpr int64_t kChunk = kChunkTokens;

// Fills the operands of `n` tokens, zero where padded.
template <class Mixer>
HWY_INLINE void lower_tokens(const cpu::HeadShape& shape, const cpu::HeadTokens& tokens, int64_t n,
                             const ChunkBuffers& b) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Token t = tokens.at(i);
    if constexpr (Mixer::kDecay == Decay::kPerHead) sum += static_cast<double>(t.g[0]);
    b.log_decay[i] = sum;
    const float decay = std::exp(static_cast<float>(sum));
    for (int64_t c = 0; c < kp; ++c) {
      const bool inside = c < shape.key_dim;
      const int channel = static_cast<int>(c);
      b.read[i * kp + c] = inside ? Mixer::read(t, channel) : 0.0f;
      b.write[c * kChunk + i] = inside ? Mixer::write(t, channel) : 0.0f;
      if constexpr (Mixer::kErases) {
        const float erase = inside ? Mixer::erase(t, channel) : 0.0f;
        b.erase[i * kp + c] = decay * erase;
        b.row[i * kp + c] = erase;
      }
      if constexpr (Mixer::kOwnChunkOperands) {
        b.row[i * kp + c] = inside ? Mixer::chunk_row(t, channel) : 0.0f;
        b.col[c * kChunk + i] = inside ? Mixer::chunk_col(t, channel) : 0.0f;
      }
    }
    for (int64_t j = 0; j < vp; ++j) {
      b.u[i * vp + j] = j < shape.value_dim ? Mixer::value(t, static_cast<int>(j)) : 0.0f;
    }
  }
  for (int64_t c = 0; c < kp; ++c) {
    std::fill(b.write + c * kChunk + n, b.write + (c + 1) * kChunk, 0.0f);
    if constexpr (Mixer::kOwnChunkOperands) {
      std::fill(b.col + c * kChunk + n, b.col + (c + 1) * kChunk, 0.0f);
    }
  }
}

// No exponent is positive: e^{G_i} e^{-G_j} apart would overflow within one chunk.
HWY_INLINE void pairwise_decay(const double* log_decay, int64_t n, float* decay) {
  const Floats d;
  for (int64_t i = 0; i < n; ++i) {
    float* row = decay + i * kChunk;
    for (int64_t j = 0; j <= i; ++j) row[j] = static_cast<float>(log_decay[i] - log_decay[j]);
    std::fill(row + i + 1, row + kChunk, 0.0f);
    for (int64_t j = 0; j <= i; j += lanes()) {
      hn::StoreU(hn::Exp(d, hn::LoadU(d, row + j)), d, row + j);
    }
  }
}

// out_ij = decay_ij rows_i . cols_j for j < i + kInclusive, 0 elsewhere.
template <class Mixer, bool kInclusive>
HWY_INLINE void decayed_gram(const float* rows, const float* cols, const float* decay, int64_t kp,
                             int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t count = std::min<int64_t>(16, n - i);
    product(rows + i * kp, kp, cols, kChunk, count, kp, i + 16, false, out + i * kChunk, kChunk);
    for (int64_t r = i; r < i + count; ++r) {
      const int64_t end = r + (kInclusive ? 1 : 0);
      if constexpr (Mixer::kDecay != Decay::kNone) {
        for (int64_t j = 0; j < end; ++j) out[r * kChunk + j] *= decay[r * kChunk + j];
      }
      std::fill(out + r * kChunk + end, out + (r + 1) * kChunk, 0.0f);
    }
  }
}

// out (+|-)= m x, m lower triangular [64, 64] (strictly if !kInclusive), x
// [64, Vp]: left of a block of rows as one product, the block itself row by row, so that no row
// ever meets a later one.
template <bool kInclusive, bool kSubtract>
HWY_INLINE void lower_times(const float* m, const float* x, int64_t vp, int64_t n, float* out) {
  constexpr int64_t kBlock = 8;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    product<kSubtract>(m + i * kChunk, kChunk, x, vp, count, i, vp, true, out + i * vp, vp);
    for (int64_t r = i; r < i + count; ++r) {
      product<kSubtract>(m + r * kChunk + i, kChunk, x + i * vp, vp, 1,
                         r - i + (kInclusive ? 1 : 0), vp, true, out + r * vp, vp);
    }
  }
}

// One chunk of n <= 64 tokens: see delta_rule.h for the equations. Solving (I + A) U = rhs by
// forward substitution is exact where powers of A blow up (correlated keys).
template <class Mixer>
HWY_INLINE void chunk_forward(const cpu::HeadShape& shape, const cpu::HeadTokens& tokens, int64_t n,
                              const ChunkBuffers& b) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  lower_tokens<Mixer>(shape, tokens, n, b);
  if constexpr (Mixer::kDecay != Decay::kNone) pairwise_decay(b.log_decay, n, b.decay);
  if constexpr (Mixer::kErases) {
    const float* col = Mixer::kOwnChunkOperands ? b.col : b.write;
    decayed_gram<Mixer, false>(b.row, col, b.decay, kp, n, b.a);
    product<true>(b.erase, kp, b.state, vp, n, kp, vp, true, b.u, vp);
    lower_times<false, true>(b.a, b.u, vp, n, b.u);
  }
  decayed_gram<Mixer, true>(b.read, b.write, b.decay, kp, n, b.reads);
  for (int64_t i = 0; i < n; ++i) {
    const float decay = std::exp(static_cast<float>(b.log_decay[i]));
    for (int64_t c = 0; c < kp; ++c) b.read[i * kp + c] *= decay;
  }
  product(b.read, kp, b.state, vp, n, kp, vp, false, b.o, vp);
  lower_times<true, false>(b.reads, b.u, vp, n, b.o);

  const double last = b.log_decay[n - 1];
  float to_end[kChunk];
  for (int64_t i = 0; i < n; ++i) {
    to_end[i] = std::exp(static_cast<float>(last - b.log_decay[i]));
  }
  for (int64_t c = 0; c < kp; ++c) {
    for (int64_t i = 0; i < n; ++i) b.write[c * kChunk + i] *= to_end[i];
  }
  const float whole = std::exp(static_cast<float>(last));
  for (int64_t i = 0; i < kp * vp; ++i) b.state[i] *= whole;
  product(b.write, kChunk, b.u, vp, kp, n, vp, true, b.state, vp);
}

template <class Mixer>
HWY_INLINE void prefill_head(const cpu::HeadShape& shape, cpu::HeadTokens tokens,
                             int64_t num_tokens, bool from_zero, float* state, float* out,
                             int64_t out_stride, float* scratch) {
  static_assert(Mixer::kDecay != Decay::kPerChannel, "no mixer with a decay per channel yet");
  const ChunkBuffers b(shape, scratch);
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  std::fill(b.state, b.state + kp * vp, 0.0f);
  if (!from_zero) {
    for (int64_t j = 0; j < shape.value_dim; ++j) {
      for (int64_t c = 0; c < kp; ++c) b.state[c * vp + j] = state[j * kp + c];
    }
  }
  for (int64_t begin = 0; begin < num_tokens; begin += kChunk) {
    const int64_t n = std::min(kChunk, num_tokens - begin);
    chunk_forward<Mixer>(shape, tokens, n, b);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(b.o + i * vp, shape.value_dim, out + (begin + i) * out_stride);
    }
    tokens.q += n * tokens.feature_stride;
    tokens.k += n * tokens.feature_stride;
    tokens.v += n * tokens.feature_stride;
    tokens.g += n * tokens.gate_stride;
    tokens.beta += n * tokens.gate_stride;
    tokens.lambda += n * tokens.gate_stride;
  }
  for (int64_t j = 0; j < shape.value_dim; ++j) {
    for (int64_t c = 0; c < kp; ++c) state[j * kp + c] = b.state[c * vp + j];
  }
}

void PrefillHead(MixerKind kind, const cpu::HeadShape& shape, const cpu::HeadTokens& tokens,
                 int64_t num_tokens, bool from_zero, float* state, float* out, int64_t out_stride,
                 float* scratch) {
  dispatch_mixer(kind, [&](auto mixer) HWY_ATTR {
    prefill_head<decltype(mixer)>(shape, tokens, num_tokens, from_zero, state, out, out_stride,
                                  scratch);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(PrefillHead);
namespace cpu {

int64_t delta_scratch_floats(const HeadShape& shape) {
  return ChunkBuffers(shape, nullptr).floats;
}

void delta_prefill(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                   int64_t num_tokens, bool from_zero, float* state, float* out, int64_t out_stride,
                   float* scratch) {
  HWY_DYNAMIC_DISPATCH(PrefillHead)
  (kind, shape, tokens, num_tokens, from_zero, state, out, out_stride, scratch);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
