// Gate activations from raw projections, in float for all formats of the weights.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

// Constants inside formulas that every device computes.
inline constexpr float kL2NormEps = 1e-6f;   // x / sqrt(sum(x^2) + eps)
inline constexpr float kSumNormEps = 1e-4f;  // x / (sum(x) + eps)
inline constexpr float kKeySumEps = 1e-10f;  // added to the divisor of normalised linear attention
inline constexpr float kLogSigmoidFactor = 1.0f / 16;  // scales GLA's log decay

// The least x, to the last bit, for which e^-x is finite.
inline constexpr float kLeastExpArgument = -0x1.62e42ep+6f;

// 1 / (1 + e^-x). Where e^-x overflows, that is e^x. NaN stays NaN.
DS_HOST_DEVICE float sigmoid(float x) {
  return x < kLeastExpArgument ? expf(x) : 1.0f / (1.0f + expf(-x));
}

// x / (1 + e^-x), and its limit -0 for negative infinity.
DS_HOST_DEVICE float silu(float x) {
  if (x < kLeastExpArgument) return fmaxf(x, -FLT_MAX) * expf(x);
  return x / (1.0f + expf(-x));
}

// log(1 + e^x) without overflow.
DS_HOST_DEVICE float softplus(float x) {
  return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

// The formula of the log decay g from its logit x.
enum class DecayGate : uint8_t {
  kNone,            // g = 0
  kSoftplus,        // g = -exp(a_log) softplus(x + dt_bias)
  kBoundedSigmoid,  // g = decay_bound sigmoid(exp(a_log) (x + dt_bias)); without a_log factor 1
  kLogSigmoid,      // g = max(kLogSigmoidFactor log(sigmoid(x)), decay_bound)
  kTimeStep,        // beta = clamp(softplus(x + dt_bias)), g = -exp(a_log) beta
};

// g = -exp(A_log) softplus(a + dt_bias) <= 0, the logarithm of the decay.
DS_HOST_DEVICE float log_decay(float a, float a_log, float dt_bias) {
  return -expf(a_log) * softplus(a + dt_bias);
}

// g of any gate but kTimeStep; rate = exp(a_log), and the bias is in the logit.
DS_HOST_DEVICE float log_decay_of(DecayGate gate, float bound, float rate, float logit) {
  switch (gate) {
    case DecayGate::kBoundedSigmoid: return bound * sigmoid(rate * logit);
    case DecayGate::kLogSigmoid: {  // log(sigmoid(x)) = -softplus(-x)
      const float log_decay = -kLogSigmoidFactor * softplus(-logit);
      return log_decay < bound ? bound : log_decay;
    }
    case DecayGate::kNone: return 0;
    default: return -rate * softplus(logit);
  }
}

}  // namespace deltaserve
