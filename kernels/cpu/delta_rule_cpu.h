// The generalised delta rule on one value head: a single step, and a run of tokens in chunks.
// The state in a slot is S^T, [value_dim][key_stride], key_stride = padded_to_16(key_dim).
#pragma once
#include <cstdint>

#include "kernels/head_tokens.h"

namespace deltaserve::cpu {

// Floats of working memory that one thread needs for either form.
int64_t delta_scratch_floats(const HeadShape& shape);

// `num_tokens` tokens one by one: each updates `state` in place, with one sweep for both reads and
// one for the write. out row i at out + i * out_stride, [V].
void delta_decode(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                  int64_t num_tokens, HeadState state, float* out, int64_t out_stride,
                  float* scratch);

// `num_tokens` tokens whose first stands on the 64-token grid, chunk by chunk; updates `state`,
// whose content is ignored when `from_zero`. out row i at out + i * out_stride, [V].
void delta_prefill(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                   int64_t num_tokens, bool from_zero, HeadState state, float* out,
                   int64_t out_stride, float* scratch);

}  // namespace deltaserve::cpu
