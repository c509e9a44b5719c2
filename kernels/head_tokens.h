// The arguments of the rule's kernels on every device: one value head's sizes, the operands of a
// run of its tokens, and its state.
#pragma once
#include <cstdint>

#include "kernels/base/state_format.h"
#include "kernels/mixer/mixers.h"
#include "kernels/state_layout.h"

namespace deltaserve {

struct HeadShape {
  int64_t key_dim = 0;
  int64_t value_dim = 0;

  DS_HOST_DEVICE int64_t key_stride() const { return padded_to_16(key_dim); }
  DS_HOST_DEVICE int64_t value_stride() const { return padded_to_16(value_dim); }
};

// One operand of consecutive tokens; null = absent.
struct TokenRows {
  const float* data = nullptr;  // of the first token
  int64_t stride = 0;           // in floats

  DS_HOST_DEVICE const float* at(int64_t row) const {
    return data == nullptr ? nullptr : data + row * stride;
  }
};

// The operands of a run of tokens of one head; see Token for each. If absent, `beta` is 1 and
// `lambda` 0.
struct HeadTokens {
  TokenRows q, k, v, r, g, multiplier, erase_gate, write_gate;
  TokenRows beta, lambda;  // one float per token
  float scale = 1;

  DS_HOST_DEVICE Token at(int64_t row) const {
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
  // Returns the run without its first `rows` tokens.
  HeadTokens from(int64_t rows) const {
    HeadTokens rest = *this;
    for (TokenRows* operand : {&rest.q, &rest.k, &rest.v, &rest.r, &rest.g, &rest.multiplier,
                               &rest.erase_gate, &rest.write_gate, &rest.beta, &rest.lambda}) {
      operand->data = operand->at(rows);
    }
    return rest;
  }
};

// S^T of one head in a slot. All arithmetic is float. An inexact format is rounded to nearest even
// when it is stored: after every decoded token and, in a prefill, at every point of the 64-token
// grid and at the end, no matter how the prefill was split into steps.
struct HeadState {
  void* data = nullptr;  // type of the format, 32-byte aligned
  StateFormat format = StateFormat::kF32;
};

}  // namespace deltaserve
