// Shapes of layers for tests of backends.
#pragma once
#include "kernels/program/mixer_shape.h"

namespace deltaserve::cuda {

// Returns the shape of a layer that has both fast kernels.
inline MixerShape provable_shape() {
  MixerShape shape;
  shape.kind = MixerKind::kQDelta;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.decay_heads = shape.beta_heads = 1;
  shape.decay_gate = DecayGate::kSoftplus;
  shape.key_dim = shape.value_dim = 64;
  shape.conv_width = 4;
  shape.scale = 0.125f;
  return shape;
}

// Returns the shape of a layer that has none of them.
inline MixerShape plain_shape(int32_t key_dim = 16) {
  MixerShape shape;
  shape.kind = MixerKind::kLinearAttention;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.key_dim = shape.value_dim = key_dim;
  shape.normalised = true;
  return shape;
}

}  // namespace deltaserve::cuda
