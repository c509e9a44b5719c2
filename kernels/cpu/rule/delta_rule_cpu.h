// The generalised delta rule on one value head, token by token or in chunks. The state in a slot is
// S^T, [value_dim][key_stride] with key_stride = padded_to_16(key_dim).
#pragma once
#include <cstdint>

#include "kernels/program/head_tokens.h"

namespace deltaserve::cpu {

// Returns the floats of working memory that one thread needs for either form.
int64_t delta_scratch_floats(const HeadShape& shape);

// Computes `num_tokens` tokens one by one and updates `state` in place, with one sweep for both
// reads and one for the write. Output row i, [V], is at out + i * out_stride.
void delta_decode(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                  int64_t num_tokens, HeadState state, float* out, int64_t out_stride,
                  float* scratch);

// Computes `num_tokens` tokens, the first of which is on the 64-token grid, chunk by chunk, and
// updates `state`, whose content is ignored if `from_zero`. Output row i, [V], is at out + i *
// out_stride. `kept`, if it has data, receives the state after the last chunk of 64 tokens.
void delta_prefill(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                   int64_t num_tokens, bool from_zero, HeadState state, float* out,
                   int64_t out_stride, float* scratch, HeadState kept = {});

}  // namespace deltaserve::cpu
