// From what the rule read to the input of the output projection: divisor, skip, gate, norm.
#pragma once
#include "kernels/cuda/layer_call.h"
#include "kernels/cuda/simt.h"

namespace deltaserve::cuda {

// MixerCall::out in place, and LayerCall::out_bf16 where asked, from `first_row` on. Rows of
// padding become zeros.
void launch_output_norm(simt::Stream stream, const LayerCall& call, int first_row);

}  // namespace deltaserve::cuda
