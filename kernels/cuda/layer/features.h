// These turn the projections of a token into the operands of the rule: short convolution, feature
// maps, norms, gates.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Fills MixerCall::features and ::gates (all but multiplier and divisor) of the rows from
// `first_row` to `end_row` that are not padding. A decode row that is all of its segment also
// stores its raw row in its write_slot.
void launch_features(simt::Stream stream, const LayerCall& call, int first_row, int end_row);

// Stores the raw rows after all other segments of the step, whose features must be there.
void launch_raw_rows(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
