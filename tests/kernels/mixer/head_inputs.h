// Inputs of one head for every mixer: easy ones, and ones that reveal inaccurate kernels.
#pragma once
#include <cstdint>

#include "tests/reference/recurrences.h"

namespace deltaserve {

enum class Inputs {
  kRandom,         // mild decays
  kHardDecay,      // a third of the decays anywhere down to e^-60
  kMixedDecay,     // every third channel is always e^-60, the others nearly 1
  kNoDecay,        // g = 0
  kSimilarKeys,    // cosine 0.9, strength .95: powers of the chunk matrix grow
  kIdenticalKeys,  // strength .95: the powers reach 1e9 and cancel
};

struct HeadCase {
  MixerKind kind;
  Inputs inputs;
  int key_dim;
  int value_dim;
};

// Makes inputs whose values are exact in float. Operands that the mixer does not use are empty.
reference::HeadInputs make_head_inputs(const HeadCase& c, int tokens, uint32_t seed);

// Returns the tokens [begin, end).
reference::HeadInputs rows_of(const reference::HeadInputs& in, int begin, int end);

// Returns ||x - truth|| / ||truth||.
double relative_error(const reference::Vec& x, const reference::Vec& truth);

}  // namespace deltaserve
