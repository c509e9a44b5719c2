// The fast kernels of a mixer layer are tested at load on the device that is there.
#pragma once
#include <string>
#include <vector>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/matmul/tensor_self_test.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Lays out all that a layer of this shape projects, column after column.
ProjectionLayout packed_projection(const MixerShape& shape);

// A shape and a state format that a model's mixer layers have, and the kernels that run them.
struct MixerVariant {
  MixerShape shape;
  StateFormat format = StateFormat::kF32;
  LayerPaths paths = {};
};

// Runs layers of this shape with random operands by the plain kernels and by the fast ones that
// have the shape, and takes those that agree: to 1e-4 of the norm where both are float, to 2e-2
// where matmuls are of bf16. One launch for all of a layer's decode must have the bits of the
// passes, because both are used side by side. `warning` names what differs, or what could not be
// tried for want of memory; it stays empty where all is well.
LayerPaths self_test_paths(Runtime& runtime, const MixerShape& shape, StateFormat format,
                           std::string* warning);

// Lets launches overlap from now on, if layers of all variants give the same bits that way,
// launched or by a graph, and if as many kernels of matmuls agree. Otherwise `warning` says why
// not.
void self_test_overlap(Runtime& runtime, const std::vector<MixerVariant>& variants,
                       const TensorSupport& matmuls, std::string* warning);

}  // namespace deltaserve::cuda
