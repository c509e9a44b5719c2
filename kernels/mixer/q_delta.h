// Q-Delta (arXiv 2606.08804, eq. 17-20), with x_t = k_t + lambda_t q_t and the unscaled, normalised
// q:
//   S_t = e^{g_t} (I - beta_t k_t x_t^T) S_{t-1} + beta_t k_t v_t^T,  o_t = S_t^T (scale q_t)
#pragma once
#include "kernels/mixer/gated_delta_net.h"

namespace deltaserve {

struct QDelta : GatedDeltaNet {
  static constexpr bool kErasesQuery = true;

  static DS_HOST_DEVICE float erase(const Token& t, int i) {
    return t.beta * (t.k[i] + t.lambda * t.q[i]);
  }
};

// The authors' published chunk kernel: inside a chunk it forms A from rows beta k and columns x,
// where the recurrence has rows beta x and columns k. Weights trained with that code depend on it,
// so prefill follows it; a single step is the recurrence in both.
struct QDeltaReleased : QDelta {
  static constexpr bool kOwnChunkOperands = true;

  static DS_HOST_DEVICE float chunk_row(const Token& t, int i) { return t.beta * t.k[i]; }
  static DS_HOST_DEVICE float chunk_col(const Token& t, int i) {
    return t.k[i] + t.lambda * t.q[i];
  }
};

}  // namespace deltaserve
