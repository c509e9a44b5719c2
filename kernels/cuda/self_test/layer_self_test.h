// Tests the fast kernels of a mixer layer at load, on the present device.
#pragma once
#include <string>
#include <vector>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/matmul/tensor_self_test.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns a layout of all projections of a layer of this shape, in adjacent columns.
ProjectionLayout packed_projection(const MixerShape& shape);

// A shape and a state format that a model's mixer layers have, and the kernels that run them.
struct MixerVariant {
  MixerShape shape;
  StateFormat format = StateFormat::kF32;
  LayerPaths paths = {};
};

// Runs layers of this shape with random operands by the plain kernels and by the fast ones that
// support the shape, and chooses the fast ones that agree: to 1e-4 of the norm if both are float,
// to 2e-2 if matmuls are in bf16. One launch for all of a layer's decode must have the bits of the
// passes, because both are used side by side, also where it leaves its norm to the output
// projection. `warning` names the kernels that differ, or that
// could not be tested for want of memory; it stays empty if there are none.
LayerPaths self_test_paths(Runtime& runtime, const MixerShape& shape, StateFormat format,
                           std::string* warning);

// Lets launches overlap from now on, if layers of all variants have the same bits that way,
// launched directly and by a graph, and if the same matmul kernels agree. Otherwise `warning` says
// why not.
void self_test_overlap(Runtime& runtime, const std::vector<MixerVariant>& variants,
                       const TensorSupport& matmuls, std::string* warning);

}  // namespace deltaserve::cuda
