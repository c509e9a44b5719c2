// Gated DeltaNet (Yang et al., arXiv 2412.06464, eq. 10):
//   S_t = e^{g_t} (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,  o_t = S_t^T (scale q_t)
#pragma once
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

struct GatedDeltaNet : DeltaNet {
  static constexpr Decay kDecay = Decay::kPerHead;
};

}  // namespace deltaserve
