// Gate activations from raw projections, in float whatever the weights' format is.
#pragma once
#include <cmath>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

// Constants inside formulas that every device computes.
inline constexpr float kL2NormEps = 1e-6f;   // x / sqrt(sum(x^2) + eps)
inline constexpr float kSumNormEps = 1e-4f;  // x / (sum(x) + eps)
inline constexpr float kKeySumEps = 1e-10f;  // added to the divisor of normalised linear attention
inline constexpr float kLogSigmoidFactor = 1.0f / 16;  // scales GLA's log decay

DS_HOST_DEVICE float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// log(1 + e^x) without overflow.
DS_HOST_DEVICE float softplus(float x) {
  return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

// g = -exp(A_log) softplus(a + dt_bias) <= 0, the logarithm of the decay.
DS_HOST_DEVICE float log_decay(float a, float a_log, float dt_bias) {
  return -expf(a_log) * softplus(a + dt_bias);
}

}  // namespace deltaserve
