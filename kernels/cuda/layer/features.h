// These turn the projections of a token into the operands of the rule: short convolution, feature
// maps, norms, gates.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Fills MixerCall::features and ::gates (all but multiplier and divisor) of the rows from
// `first_row` to `end_row` that are not padding. A decode row that is all of its segment also moves
// into the convolution tail of its write_slot; no other row of the step reads that.
void launch_features(simt::Stream stream, const LayerCall& call, int first_row, int end_row);

// The convolution tails behind all other segments of the step; their features must be there.
void launch_conv_tails(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
