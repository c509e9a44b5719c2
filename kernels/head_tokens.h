// One value head's part of a step: its sizes, the operands of a run of its tokens, its state. What
// the kernels of the rule take, on every device.
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

// One operand, token after token; null = absent.
struct TokenRows {
  const float* data = nullptr;  // of the first token
  int64_t stride = 0;           // in floats

  DS_HOST_DEVICE const float* at(int64_t row) const {
    return data == nullptr ? nullptr : data + row * stride;
  }
};

// The operands of a run of tokens of one head, as Token has them. `beta` is 1 and `lambda` 0 where
// absent.
struct HeadTokens {
  TokenRows q, k, v, r, g, multiplier, erase_gate, write_gate;
  TokenRows beta, lambda;  // one float a token
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

// S^T of one head in a slot. All arithmetic is float; a state whose format is not exact is rounded
// to nearest even when it is stored: behind every decoded token, and in a prefill at every point of
// the 64-token grid and at its end, wherever the prefill was cut.
struct HeadState {
  void* data = nullptr;  // of the format's type, 32-byte aligned
  StateFormat format = StateFormat::kF32;
};

}  // namespace deltaserve
