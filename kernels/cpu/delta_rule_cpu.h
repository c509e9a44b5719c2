// The generalised delta rule on one value head: a single step, and a run of tokens in chunks.
// The state in a slot is S^T, [value_dim][key_stride], key_stride = padded_to_16(key_dim).
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/mixer/mixers.h"
#include "kernels/state_layout.h"

namespace deltaserve::cpu {

struct HeadShape {
  int64_t key_dim = 0;
  int64_t value_dim = 0;

  int64_t key_stride() const { return padded_to_16(key_dim); }
  int64_t value_stride() const { return padded_to_16(value_dim); }
};

// One operand, token after token; null = absent.
struct TokenRows {
  const float* data = nullptr;  // of the first token
  int64_t stride = 0;           // in floats

  const float* at(int64_t row) const { return data == nullptr ? nullptr : data + row * stride; }
};

// The operands of a run of tokens of one head, as Token has them. `beta` is 1 and `lambda` 0 where
// absent.
struct HeadTokens {
  TokenRows q, k, v, r, g, multiplier, erase_gate, write_gate;
  TokenRows beta, lambda;  // one float a token
  float scale = 1;

  Token at(int64_t row) const {
    return {q.at(row),
            k.at(row),
            v.at(row),
            r.at(row),
            g.at(row),
            multiplier.at(row),
            erase_gate.at(row),
            write_gate.at(row),
            beta.data == nullptr ? 1.0f : *beta.at(row),
            lambda.data == nullptr ? 0.0f : *lambda.at(row),
            scale};
  }
  // The same run without its first `rows` tokens.
  HeadTokens from(int64_t rows) const {
    HeadTokens rest = *this;
    for (TokenRows* operand : {&rest.q, &rest.k, &rest.v, &rest.r, &rest.g, &rest.multiplier,
                               &rest.erase_gate, &rest.write_gate, &rest.beta, &rest.lambda}) {
      operand->data = operand->at(rows);
    }
    return rest;
  }
};

// S^T of one head in a slot. All arithmetic is float; a bf16 state is rounded to nearest even when
// it is stored: behind every decoded token, and in a prefill at every point of the 64-token grid
// and at its end, wherever the prefill was cut.
struct HeadState {
  void* data = nullptr;       // float or uint16_t, 32-byte aligned
  Dtype dtype = Dtype::kF32;  // kF32 or kBf16
};

// Floats of working memory that one thread needs for either form.
int64_t delta_scratch_floats(const HeadShape& shape);

// One token: updates `state` in place, one sweep for both reads and one for the write; out [V].
void delta_decode(MixerKind kind, const HeadShape& shape, const HeadTokens& token, HeadState state,
                  float* out, float* scratch);

// `num_tokens` tokens whose first stands on the 64-token grid, chunk by chunk; updates `state`,
// whose content is ignored when `from_zero`. out row i at out + i * out_stride, [V].
void delta_prefill(MixerKind kind, const HeadShape& shape, const HeadTokens& tokens,
                   int64_t num_tokens, bool from_zero, HeadState state, float* out,
                   int64_t out_stride, float* scratch);

}  // namespace deltaserve::cpu
