// Mixer layers that together have every value of mixer_shape.h.
#pragma once
#include <string>
#include <vector>

#include "kernels/program/mixer_shape.h"

namespace deltaserve {

// A shape and the parts of a layer that may be absent.
struct LayerCase {
  std::string name;
  MixerShape shape;
  bool gate = true;           // has an output gate
  bool norm = true;           // the output norm has a weight
  bool a_log = true;          // the decay's gate has a_log, if it can
  bool projects_beta = true;  // false: beta is constant
  bool skip = false;
  bool conv_bias = false;
  double qk_mean = 0;     // mean of the projected q and k, whose deviation is 1
  double decay_mean = 0;  // mean of the decay's logits
  double decay_deviation = 1;
};

std::vector<LayerCase> layer_cases();

}  // namespace deltaserve
