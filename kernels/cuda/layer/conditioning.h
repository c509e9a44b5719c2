// What a sequence carries beside its states: the squares of a preconditioner, the sum of keys of
// normalised linear attention, the covariance of a conditioned query with the rows around its rule.
// Features and gates must be there.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// The gates' multipliers; updates the squares.
void launch_precondition(simt::Stream stream, const LayerCall& call);

// The gates' divisors; updates the sums of keys.
void launch_key_sums(simt::Stream stream, const LayerCall& call);

// The operands of the covariance's rule (MixerCall::covariance); updates key counts and means.
void launch_covariance_rows(simt::Stream stream, const LayerCall& call);

// Behind that rule: what it read in MixerCall::queries becomes the conditioned queries.
void launch_conditioned_queries(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
