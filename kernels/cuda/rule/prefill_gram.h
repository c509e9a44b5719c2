// The token-parallel half of the tensor path of prefill.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Writes a TensorChunk (prefill_tiles.h) for every chunk and head into the scratch.
void launch_tensor_gram(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
