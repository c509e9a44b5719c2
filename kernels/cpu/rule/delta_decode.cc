#include <algorithm>
#include <cmath>

#include "kernels/cpu/rule/delta_rule_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rule/delta_decode.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/base/math-inl.h"
#include "kernels/cpu/rule/state_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// Number of state rows (columns of S) processed together: enough independent sums to hide their
// latency, few enough that the rows stay in the first-level cache between the two sweeps.
constexpr int kDecodeRows = 4;

struct DecodeVectors {
  const float* erase;
  const float* write;
  const float* read;
  float decay;          // common to all channels; 1 if each has its own
  const float* decays;  // [Kp]
  float write_read;     // write . read
};

// Computes u = value - S~^T erase, o = S~^T read + (write . read) u, S = S~ + write u^T for kRows
// rows of S^T. One sweep computes both reads of the old state. Both sweeps go row by row, in the
// order of memory, because prefetching follows one stream better than kRows streams.
template <class Mixer, int kRows, class Format>
HWY_INLINE void step_rows(Format format, const DecodeVectors& t, const float* value, int64_t stride,
                          typename Format::Stored* rows, float* out) {
  const Floats d;
  FloatVec erased[kRows], seen[kRows];
  for (int r = 0; r < kRows; ++r) erased[r] = seen[r] = hn::Zero(d);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = 0; i < stride; i += lanes()) {
      const FloatVec s = load_state(format, rows + r * stride + i);
      seen[r] = hn::MulAdd(s, hn::Load(d, t.read + i), seen[r]);
      if constexpr (Mixer::kErases) erased[r] = hn::MulAdd(s, hn::Load(d, t.erase + i), erased[r]);
    }
  }
  FloatVec update[kRows];
  for (int r = 0; r < kRows; ++r) {
    float u = value[r];
    if constexpr (Mixer::kErases) u -= t.decay * hn::GetLane(hn::SumOfLanes(d, erased[r]));
    out[r] = t.decay * hn::GetLane(hn::SumOfLanes(d, seen[r])) + t.write_read * u;
    update[r] = hn::Set(d, u);
  }
  FloatVec decay = hn::Set(d, t.decay);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = 0; i < stride; i += lanes()) {
      const FloatVec write = hn::Load(d, t.write + i);
      if constexpr (Mixer::kDecay == Decay::kPerChannel) decay = hn::Load(d, t.decays + i);
      typename Format::Stored* s = rows + r * stride + i;
      store_state(format, hn::MulAdd(write, update[r], hn::Mul(decay, load_state(format, s))), s);
    }
  }
}

// Computes decays = e^g and multiplies the vectors that are multiplied with the old state by it:
// S~^T x = S^T (e^g x).
HWY_INLINE void decay_channels(const Token& token, int64_t key_dim, float* decays, float* erase,
                               float* read) {
  for_each_vector(key_dim, [=](auto d, int64_t i) HWY_ATTR {
    const auto decay = exp_of(d, hn::LoadU(d, token.g + i));
    hn::StoreU(decay, d, decays + i);
    hn::StoreU(hn::Mul(decay, hn::LoadU(d, erase + i)), d, erase + i);
    hn::StoreU(hn::Mul(decay, hn::LoadU(d, read + i)), d, read + i);
  });
}

template <class Mixer, class Format>
HWY_INLINE void decode_head(Format format, const HeadShape& shape, const Token& token,
                            typename Format::Stored* state, float* out, float* scratch) {
  const int64_t stride = shape.key_stride();
  float* erase = scratch;
  float* write = erase + stride;
  float* read = write + stride;
  float* decays = read + stride;
  float* value = decays + stride;
  for (int64_t i = 0; i < shape.key_dim; ++i) {
    const int channel = static_cast<int>(i);
    erase[i] = Mixer::erase(token, channel);
    write[i] = Mixer::write(token, channel);
    read[i] = Mixer::read(token, channel);
  }
  for (float* padded : {erase, write, read, decays}) {
    std::fill(padded + shape.key_dim, padded + stride, 0.0f);
  }
  for (int64_t j = 0; j < shape.value_dim; ++j) value[j] = Mixer::value(token, static_cast<int>(j));
  const float write_read = dot(write, read, stride);
  if constexpr (Mixer::kDecay == Decay::kPerChannel) {
    decay_channels(token, shape.key_dim, decays, erase, read);
  }
  const float decay = Mixer::kDecay == Decay::kPerHead ? std::exp(token.g[0]) : 1.0f;
  const DecodeVectors vectors = {erase, write, read, decay, decays, write_read};
  int64_t j = 0;
  for (; j + kDecodeRows <= shape.value_dim; j += kDecodeRows) {
    step_rows<Mixer, kDecodeRows>(format, vectors, value + j, stride, state + j * stride, out + j);
  }
  for (; j < shape.value_dim; ++j) {
    step_rows<Mixer, 1>(format, vectors, value + j, stride, state + j * stride, out + j);
  }
}

void DecodeHead(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                int64_t num_tokens, HeadState state, float* out, int64_t out_stride,
                float* scratch) {
  dispatch_mixer(kind, [&](auto mixer) HWY_ATTR {
    using Mixer = decltype(mixer);
    visit_state_format_of<Mixer::kDecay != Decay::kNone>(state.format, [&](auto format) HWY_ATTR {
      using Stored = typename decltype(format)::Stored;
      for (int64_t i = 0; i < num_tokens; ++i) {
        decode_head<Mixer>(format, shape, tokens.at(i), static_cast<Stored*>(state.data),
                           out + i * out_stride, scratch);
      }
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(DecodeHead);
namespace cpu {

void delta_decode(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                  int64_t num_tokens, HeadState state, float* out, int64_t out_stride,
                  float* scratch) {
  HWY_DYNAMIC_DISPATCH(DecodeHead)
  (kind, shape, tokens, num_tokens, state, out, out_stride, scratch);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
