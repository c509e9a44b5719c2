// Delta rules with a decay per channel.
#pragma once
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

// Kimi Delta Attention (arXiv 2510.26692, eq. 1):
//   S_t = (I - beta_t k_t k_t^T) diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T
struct KimiDelta : DeltaNet {
  static constexpr Decay kDecay = Decay::kPerChannel;
};

// Gated DeltaNet-2, as in flash-linear-attention's layer. Instead of beta, the erase has a vector b
// over the key channels and the write a vector w over the value channels.
//   S_t = (I - k_t (b_t * k_t)^T) diag(e^{g_t}) S_{t-1} + k_t (w_t * v_t)^T
struct GatedDeltaNet2 : KimiDelta {
  static constexpr bool kChannelGates = true;

  static DS_HOST_DEVICE float erase(const Token& t, int i) { return t.erase_gate[i] * t.k[i]; }
  static DS_HOST_DEVICE float value(const Token& t, int j) { return t.write_gate[j] * t.v[j]; }
};

}  // namespace deltaserve
