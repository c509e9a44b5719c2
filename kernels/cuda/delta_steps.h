// The generalised delta rule token by token, the state in registers: decode, and the plain form of
// prefill that the chunkwise kernels are compared with and fall back to.
#pragma once
#include "kernels/cuda/rule_view.h"
#include "kernels/cuda/simt.h"

namespace deltaserve::cuda {

// Runs the rule over segments [first_segment, first_segment + num_segments) of the step: reads and
// writes their states, fills out rows of every head. A mixer whose chunk form differs from its
// recurrence (kOwnChunkOperands) takes this for decode only.
void launch_steps(simt::Stream stream, const RuleView& view, int first_segment, int num_segments);

}  // namespace deltaserve::cuda
