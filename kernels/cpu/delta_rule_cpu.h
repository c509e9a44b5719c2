// The generalised delta rule on one value head: a single step, and a run of tokens in chunks.
// The state in a slot is S^T, float [value_dim][key_stride], key_stride = padded_to_16(key_dim).
#pragma once
#include <cstdint>

#include "kernels/mixer/mixers.h"
#include "kernels/state_layout.h"

namespace deltaserve::cpu {

struct HeadShape {
  int64_t key_dim = 0;
  int64_t value_dim = 0;

  int64_t key_stride() const { return padded_to_16(key_dim); }
  int64_t value_stride() const { return padded_to_16(value_dim); }
};

// Tokens of one head, row after row: pointers to the first row, strides between rows in floats.
struct HeadTokens {
  const float *q = nullptr, *k = nullptr, *v = nullptr;  // l2-normalised q and k, unscaled
  int64_t feature_stride = 0;                            // of q, k and v
  const float *g = nullptr, *beta = nullptr, *lambda = nullptr;
  int64_t gate_stride = 0;
  float scale = 1;

  Token at(int64_t row) const {
    const int64_t f = row * feature_stride;
    const int64_t i = row * gate_stride;
    return {q + f, k + f, v + f, g + i, beta[i], lambda[i], scale};
  }
};

// Floats of working memory that one thread needs for either form.
int64_t delta_scratch_floats(const HeadShape& shape);

// One token: updates `state` in place, one sweep for both reads and one for the write; out [V].
void delta_decode(MixerKind kind, const HeadShape& shape, const HeadTokens& token, float* state,
                  float* out, float* scratch);

// `num_tokens` tokens whose first stands on the 64-token grid, chunk by chunk; updates `state`,
// whose content is ignored when `from_zero`. out row i at out + i * out_stride, [V].
void delta_prefill(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                   int64_t num_tokens, bool from_zero, float* state, float* out, int64_t out_stride,
                   float* scratch);

}  // namespace deltaserve::cpu
