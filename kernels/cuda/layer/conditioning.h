// Computes the other parts that a sequence carries beside its states: the squares of a
// preconditioner, the sum of keys of normalised linear attention, the covariance of a conditioned
// query with the rows around its rule. Features and gates must be computed before.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Computes the gates' multipliers and updates the squares.
void launch_precondition(simt::Stream stream, const LayerCall& call);

// Computes the gates' divisors and updates the sums of keys.
void launch_key_sums(simt::Stream stream, const LayerCall& call);

// Computes the covariance rule's operands (MixerCall::covariance); updates key counts and means.
void launch_covariance_rows(simt::Stream stream, const LayerCall& call);

// Turns the results of that rule's reads, in MixerCall::queries, into the conditioned queries.
void launch_conditioned_queries(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
