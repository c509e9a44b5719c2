// Random weights and projected rows of a mixer layer, for the reference and, with the same values,
// for the kernels.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/program/mixer_call.h"
#include "tests/kernels/program/layer_cases.h"
#include "tests/reference/mixer_layer.h"

namespace deltaserve {

class LayerWeights {
 public:
  LayerWeights(const LayerCase& c, uint32_t seed);

  const reference::LayerWeights& exact() const { return exact_; }
  MixerWeights floats() const;

 private:
  reference::LayerWeights exact_;
  MixerVectors<std::vector<float>> floats_;
};

// Makes a layout of the columns that the layer needs, with unused ones between them.
ProjectionLayout make_projection(const LayerCase& c);

// Makes rows [rows, columns of the layout], exact in float; unused columns are NaN.
reference::Vec make_projected(const LayerCase& c, const ProjectionLayout& layout, int rows,
                              uint32_t seed);

}  // namespace deltaserve
