// The weight vectors that a mixer layer may have in addition to its matrices. The struct is a
// template over the type that represents a vector: blocks of a checkpoint, an index of the
// program's weights, a pointer.
#pragma once

namespace deltaserve {

// X(name) for every vector. A new vector needs a line here, in the mapping that fills it, and in
// the kernels that read it.
//   conv               [conv_width, channels], the last row weighs the current token
//   conv_bias          [channels]
//   a_log              [decay_heads]
//   dt_bias            [decay_heads] or [decay_heads, key_dim], as the decay's logits
//   precond_a_log      [precond_heads], as the two that follow
//   precond_dt_bias
//   precond_center
//   conditioning       w of QueryConditioning
//   conditioning_bias  b of it
//   skip               D in o += D v, [heads, value_dim]
//   norm               the weight of the output norm
#define DELTASERVE_MIXER_VECTORS(X) \
  X(conv)                           \
  X(conv_bias)                      \
  X(a_log)                          \
  X(dt_bias)                        \
  X(precond_a_log)                  \
  X(precond_dt_bias)                \
  X(precond_center)                 \
  X(conditioning)                   \
  X(conditioning_bias)              \
  X(skip)                           \
  X(norm)

template <class T>
struct MixerVectors {
#define X(name) T name;
  DELTASERVE_MIXER_VECTORS(X)
#undef X
};

// Returns the same vectors with convert() applied to each.
template <class To, class From, class Convert>
MixerVectors<To> map_vectors(const MixerVectors<From>& from, const Convert& convert) {
  MixerVectors<To> to;
#define X(name) to.name = convert(from.name);
  DELTASERVE_MIXER_VECTORS(X)
#undef X
  return to;
}

}  // namespace deltaserve
