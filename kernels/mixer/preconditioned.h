// The preconditioned variants (PDN, PGDN, PKDA) of a delta rule: erase with k, write with M * k,
// where the multiplier M follows the running squares of the keys,
//   A_t = e^{ga_t} A_{t-1} + ba_t k_t * k_t,   r = ln(A_t + eps) - c,   M_t = x^{-r / (1 + |r|)}
// and lies between 1/x and x. A [K] is part of a sequence's state, which the backend updates.
#pragma once
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

template <class Backbone>
struct Preconditioned : Backbone {
  static constexpr bool kPreconditioned = true;

  static DS_HOST_DEVICE float write(const Token& t, int i) { return t.multiplier[i] * t.k[i]; }
};

}  // namespace deltaserve
