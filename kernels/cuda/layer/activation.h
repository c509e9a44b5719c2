// Activations of one float, on every device.
#pragma once
#include <cmath>

#include "kernels/mixer/gates.h"
#include "kernels/program/mixer_shape.h"

namespace deltaserve::cuda {

// NaN stays NaN.
DS_HOST_DEVICE float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kSilu: return silu(x);
    case Activation::kRelu: return x < 0.0f ? 0.0f : x;
    case Activation::kEluPlusOne: return x > 0.0f ? x + 1.0f : expf(x);
    case Activation::kSigmoid: return sigmoid(x);
  }
  return x;
}

}  // namespace deltaserve::cuda
