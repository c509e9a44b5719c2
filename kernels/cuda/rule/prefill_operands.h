// The token-parallel half of the tensor path of prefill with the inverse on the write side.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Turns the feature images and gates of the step's chunks into ChunkOperands (prefill_images.h) in
// the scratch.
void launch_prefill_operands(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
