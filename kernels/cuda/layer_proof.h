// The fast kernels of a mixer layer, proved at load on the device that is there.
#pragma once
#include <string>

#include "kernels/cuda/layer_call.h"
#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {

// Runs layers of this shape with random operands by the plain kernels and by the fast ones that
// have the shape, and takes those that agree: to 1e-4 of the norm where both are float, to 2e-2
// where products are of bf16. One launch for all of a layer's decode and the passes are used side
// by side, by the number of rows, only where they have the same bits. `warning` names what differs,
// or what could not be tried for want of memory; it stays empty where all is well.
LayerPaths prove_paths(Runtime& runtime, const MixerShape& shape, std::string* warning);

// Lets launches overlap from now on, if a layer of this shape by `paths` gives the same bits that
// way, launched or recorded, and so do products on tensor cores where they are used. Otherwise
// `warning` says why not.
void prove_overlap(Runtime& runtime, const MixerShape& shape, const LayerPaths& paths,
                   bool tensor_products, std::string* warning);

}  // namespace deltaserve::cuda
