// Mixer layers that together take every value of mixer_shape.h.
#pragma once
#include <string>
#include <vector>

#include "kernels/mixer_shape.h"

namespace deltaserve {

// What a layer may have or not beside its shape.
struct LayerCase {
  std::string name;
  MixerShape shape;
  bool gate = true;           // output gate
  bool norm = true;           // weight of the output norm
  bool a_log = true;          // where the decay's gate has one
  bool projects_beta = true;  // otherwise it is constant
  bool skip = false;
  bool conv_bias = false;
  double qk_mean = 0;     // of the projected q and k, whose deviation is 1
  double decay_mean = 0;  // of the decay's logits
  double decay_deviation = 1;
};

std::vector<LayerCase> layer_cases();

}  // namespace deltaserve
