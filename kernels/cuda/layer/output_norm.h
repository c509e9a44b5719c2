// This turns what the rule read into the output projection's input: divisor, skip, gate, norm.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns true if the output projection may apply the norm of decode rows
// (LayerCall::head_squares): a norm over each head, whose values fill warps, and no more heads than
// a matmul has factors for (kMostFactorParts of matmul.h).
bool has_unnormed_decode(const MixerShape& shape);

// Normalises MixerCall::out in place from `first_row` on, and writes LayerCall::out_bf16 if it is
// set. If LayerCall::head_squares is set, decode rows keep their values and leave the norm's
// factors there. Rows of padding become zeros.
void launch_output_norm(simt::Stream stream, const LayerCall& call, int first_row);

}  // namespace deltaserve::cuda
