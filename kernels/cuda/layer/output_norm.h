// This turns what the rule read into the output projection's input: divisor, skip, gate, norm.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// MixerCall::out in place, and LayerCall::out_bf16 where asked, from `first_row` on. Rows of
// padding become zeros.
void launch_output_norm(simt::Stream stream, const LayerCall& call, int first_row);

}  // namespace deltaserve::cuda
