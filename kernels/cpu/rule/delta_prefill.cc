#include <algorithm>
#include <cmath>

#include "kernels/cpu/rule/chunk_buffers.h"
#include "kernels/cpu/rule/delta_rule_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rule/delta_prefill.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/base/math-inl.h"
#include "kernels/cpu/rule/channel_decay-inl.h"
#include "kernels/cpu/rule/state_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

using cpu::ChunkBuffers;

constexpr int64_t kChunk = kChunkTokens;

// Clears parts of the transposed operand `m` [Kp, 64]: columns from n on, rows beyond the key size.
HWY_INLINE void clear_columns(float* m, int64_t key_dim, int64_t kp, int64_t n) {
  for (int64_t c = 0; c < key_dim; ++c) {
    std::fill(m + c * kChunk + n, m + (c + 1) * kChunk, 0.0f);
  }
  std::fill(m + key_dim * kChunk, m + kp * kChunk, 0.0f);
}

// Sets to[c] = of(c) for the channels and 0 for the padding.
template <class Operand>
HWY_INLINE void fill_row(int64_t size, int64_t stride, float* HWY_RESTRICT to, const Operand& of) {
  const int count = static_cast<int>(size);
  for (int c = 0; c < count; ++c) to[c] = of(c);
  std::fill(to + size, to + stride, 0.0f);
}

// Computes the unweighted operands of `n` tokens. `write` and `col` are transposed, zero beyond n.
template <class Mixer>
HWY_INLINE void lower_tokens(const HeadShape& shape, const HeadTokens& tokens, int64_t n,
                             const ChunkBuffers& b) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  for (int64_t i = 0; i < n; ++i) {
    const Token t = tokens.at(i);
    const auto keys = [&](float* to, const auto& of) { fill_row(shape.key_dim, kp, to, of); };
    keys(b.read + i * kp, [&](int c) { return Mixer::read(t, c); });
    keys(b.write_rows + i * kp, [&](int c) { return Mixer::write(t, c); });
    if constexpr (Mixer::kOwnChunkOperands) {
      keys(b.erase + i * kp, [&](int c) { return Mixer::erase(t, c); });
      keys(b.row + i * kp, [&](int c) { return Mixer::chunk_row(t, c); });
      for (int64_t c = 0; c < shape.key_dim; ++c) {
        b.col[c * kChunk + i] = Mixer::chunk_col(t, static_cast<int>(c));
      }
    } else if constexpr (Mixer::kErases) {
      keys(b.row + i * kp, [&](int c) { return Mixer::erase(t, c); });
    }
    fill_row(shape.value_dim, vp, b.u + i * vp, [&](int j) { return Mixer::value(t, j); });
  }
  if constexpr (Mixer::kOwnChunkOperands) clear_columns(b.col, shape.key_dim, kp, n);
}

// Computes e^{G_i - G_j}. No exponent is positive; e^{G_i} and e^{-G_j} alone would overflow within
// one chunk.
HWY_INLINE void pairwise_decay(const double* log_decay, int64_t n, float* decay) {
  const Floats d;
  for (int64_t i = 0; i < n; ++i) {
    float* row = decay + i * kChunk;
    for (int64_t j = 0; j <= i; ++j) row[j] = static_cast<float>(log_decay[i] - log_decay[j]);
    std::fill(row + i + 1, row + kChunk, 0.0f);
    for (int64_t j = 0; j <= i; j += lanes()) {
      hn::StoreU(exp_of(d, hn::LoadU(d, row + j)), d, row + j);
    }
  }
}

// out_ij = decay_ij rows_i . cols_j for j < i + kInclusive, 0 elsewhere.
template <class Mixer, bool kInclusive>
HWY_INLINE void decayed_gram(const float* rows, const float* cols, const float* decay, int64_t kp,
                             int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t count = std::min<int64_t>(16, n - i);
    dense_matmul(rows + i * kp, kp, cols, kChunk, count, kp, i + 16, false, out + i * kChunk,
                 kChunk);
    for (int64_t r = i; r < i + count; ++r) {
      const int64_t end = r + (kInclusive ? 1 : 0);
      if constexpr (Mixer::kDecay != Decay::kNone) {
        for (int64_t j = 0; j < end; ++j) out[r * kChunk + j] *= decay[r * kChunk + j];
      }
      std::fill(out + r * kChunk + end, out + (r + 1) * kChunk, 0.0f);
    }
  }
}

// out (+|-)= m x with m lower triangular [64, 64] (strictly if !kInclusive) and x [64, Vp]. For
// each block of rows, the columns left of it are one matmul, and the block itself is computed row
// by row, so that a row never depends on a later one.
template <bool kInclusive, bool kSubtract>
HWY_INLINE void lower_times(const float* m, const float* x, int64_t vp, int64_t n, float* out) {
  constexpr int64_t kBlock = 8;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    dense_matmul<kSubtract>(m + i * kChunk, kChunk, x, vp, count, i, vp, true, out + i * vp, vp);
    for (int64_t r = i; r < i + count; ++r) {
      dense_matmul<kSubtract>(m + r * kChunk + i, kChunk, x + i * vp, vp, 1,
                              r - i + (kInclusive ? 1 : 0), vp, true, out + r * vp, vp);
    }
  }
}

HWY_INLINE void scale_rows(const float* factors, int64_t n, int64_t stride, float* rows) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < stride; ++c) rows[i * stride + c] *= factors[i];
  }
}

// Computes the same as weigh_by_channel() for mixers with one decay per head or none.
template <class Mixer>
HWY_INLINE void weigh_by_head(const HeadShape& shape, const HeadTokens& tokens, int64_t n,
                              const ChunkBuffers& b) {
  const int64_t kp = shape.key_stride();
  transpose(b.write_rows, kp, n, shape.key_dim, b.write, kChunk);
  clear_columns(b.write, shape.key_dim, kp, n);
  if constexpr (Mixer::kDecay == Decay::kPerHead) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += static_cast<double>(*tokens.g.at(i));
      b.log_decay[i] = sum;
    }
    pairwise_decay(b.log_decay, n, b.decay);
  }
  if constexpr (Mixer::kErases) {
    const float* col = Mixer::kOwnChunkOperands ? b.col : b.write;
    decayed_gram<Mixer, false>(b.row, col, b.decay, kp, n, b.a);
    if constexpr (!Mixer::kOwnChunkOperands) std::copy_n(b.row, n * kp, b.erase);
  }
  decayed_gram<Mixer, true>(b.read, b.write, b.decay, kp, n, b.reads);
  if constexpr (Mixer::kDecay == Decay::kNone) return;

  float from_start[kChunk], to_end[kChunk];
  for (int64_t i = 0; i < n; ++i) {
    from_start[i] = std::exp(static_cast<float>(b.log_decay[i]));
    to_end[i] = std::exp(static_cast<float>(b.log_decay[n - 1] - b.log_decay[i]));
  }
  scale_rows(from_start, n, kp, b.read);
  if constexpr (Mixer::kErases) scale_rows(from_start, n, kp, b.erase);
  for (int64_t c = 0; c < kp; ++c) {
    for (int64_t i = 0; i < n; ++i) b.write[c * kChunk + i] *= to_end[i];
  }
  std::fill_n(b.state_decay, kp, from_start[n - 1]);
}

// Computes e^g of every channel; 1 in the padding.
HWY_INLINE void channel_decays(const HeadShape& shape, const HeadTokens& tokens, int64_t n,
                               float* decay) {
  const int64_t kp = shape.key_stride();
  for (int64_t i = 0; i < n; ++i) {
    float* row = decay + i * kp;
    const float* g = tokens.g.at(i);
    for_each_vector(shape.key_dim, [=](auto d, int64_t c) HWY_ATTR {
      hn::StoreU(exp_of(d, hn::LoadU(d, g + c)), d, row + c);
    });
    std::fill(row + shape.key_dim, row + kp, 1.0f);
  }
}

// Computes one chunk of n <= 64 tokens; delta_rule.h has the equations. Solving (I + A) U = rhs by
// forward substitution stays accurate even if powers of A become huge (correlated keys).
template <class Mixer>
HWY_INLINE void chunk_forward(const HeadShape& shape, const HeadTokens& tokens, int64_t n,
                              const ChunkBuffers& b) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  lower_tokens<Mixer>(shape, tokens, n, b);
  if constexpr (Mixer::kDecay == Decay::kPerChannel) {
    static_assert(!Mixer::kOwnChunkOperands, "not with a decay per channel");
    channel_decays(shape, tokens, n, b.decay);
    weigh_by_channel<Mixer::kErases>(kp, n, b);
  } else {
    weigh_by_head<Mixer>(shape, tokens, n, b);
  }
  if constexpr (Mixer::kErases) {
    dense_matmul<true>(b.erase, kp, b.state, vp, n, kp, vp, true, b.u, vp);
    lower_times<false, true>(b.a, b.u, vp, n, b.u);
  }
  dense_matmul(b.read, kp, b.state, vp, n, kp, vp, false, b.o, vp);
  lower_times<true, false>(b.reads, b.u, vp, n, b.o);
  if constexpr (Mixer::kDecay != Decay::kNone) scale_rows(b.state_decay, kp, vp, b.state);
  dense_matmul(b.write, kChunk, b.u, vp, kp, n, vp, true, b.state, vp);
}

// Convert the slot's S^T [V, Kp] to S [Kp, Vp], and back.
void load_transposed(const HeadState& from, const HeadShape& shape, float* to) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  visit_state_format(from.format, [&](auto format) HWY_ATTR {
    using Format = decltype(format);
    const auto* data = static_cast<const typename Format::Stored*>(from.data);
    if constexpr (Format::kExact) return transpose(data, kp, shape.value_dim, kp, to, vp);
    for (int64_t j = 0; j < shape.value_dim; ++j) {
      for (int64_t c = 0; c < kp; ++c) to[c * vp + j] = Format::load(data[j * kp + c]);
    }
  });
}

void store_transposed(const float* from, const HeadShape& shape, const HeadState& to) {
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  visit_state_format(to.format, [&](auto format) HWY_ATTR {
    using Format = decltype(format);
    auto* data = static_cast<typename Format::Stored*>(to.data);
    if constexpr (Format::kExact) return transpose(from, vp, kp, shape.value_dim, data, kp);
    for (int64_t j = 0; j < shape.value_dim; ++j) {
      for (int64_t c = 0; c < kp; ++c) data[j * kp + c] = Format::store(from[c * vp + j]);
    }
  });
}

// Rounds a state to the values that a slot of the format can hold.
void round_states(StateFormat format, int64_t count, float* state) {
  visit_state_format(format, [&](auto chosen) HWY_ATTR {
    if constexpr (decltype(chosen)::kExact) return;
    const Floats d;
    for (int64_t i = 0; i < count; i += lanes()) {
      hn::Store(round_state(chosen, hn::Load(d, state + i)), d, state + i);
    }
  });
}

template <class Mixer>
HWY_INLINE void prefill_head(const HeadShape& shape, const HeadTokens& tokens, int64_t num_tokens,
                             bool from_zero, const HeadState& state, float* out, int64_t out_stride,
                             float* scratch, const HeadState& kept) {
  const ChunkBuffers b(shape, scratch);
  const int64_t kp = shape.key_stride();
  const int64_t vp = shape.value_stride();
  std::fill(b.state, b.state + kp * vp, 0.0f);
  if (!from_zero) load_transposed(state, shape, b.state);
  for (int64_t begin = 0; begin < num_tokens; begin += kChunk) {
    const int64_t n = std::min(kChunk, num_tokens - begin);
    chunk_forward<Mixer>(shape, tokens.from(begin), n, b);
    round_states(state.format, kp * vp, b.state);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(b.o + i * vp, shape.value_dim, out + (begin + i) * out_stride);
    }
    const bool last_whole = n == kChunk && num_tokens - begin < 2 * kChunk;
    if (last_whole && kept.data != nullptr) store_transposed(b.state, shape, kept);
  }
  store_transposed(b.state, shape, state);
}

void PrefillHead(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                 int64_t num_tokens, bool from_zero, HeadState state, float* out,
                 int64_t out_stride, float* scratch, HeadState kept) {
  dispatch_mixer(kind, [&](auto mixer) HWY_ATTR {
    prefill_head<decltype(mixer)>(shape, tokens, num_tokens, from_zero, state, out, out_stride,
                                  scratch, kept);
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
                   int64_t num_tokens, bool from_zero, HeadState state, float* out,
                   int64_t out_stride, float* scratch, HeadState kept) {
  HWY_DYNAMIC_DISPATCH(PrefillHead)
  (kind, shape, tokens, num_tokens, from_zero, state, out, out_stride, scratch, kept);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
