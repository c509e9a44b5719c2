// This turns what the rule read into the output projection's input: divisor, skip, gate, norm.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns true if the output projection may apply the norm of decode rows
// (LayerCall::head_squares): a norm over each head, whose values fill warps, and no more heads than
// a matmul has factors for (kMostFactorParts of matmul.h).
bool has_unnormed_decode(const MixerShape& shape);

// MixerCall::out in place, and LayerCall::out_bf16 where asked, from `first_row` on; decode rows
// without their norm where LayerCall::head_squares asks for that. Rows of padding become zeros.
void launch_output_norm(simt::Stream stream, const LayerCall& call, int first_row);

}  // namespace deltaserve::cuda
