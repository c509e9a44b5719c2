// The generalised delta rule of one token, the state in registers: decode.
#pragma once
#include "kernels/cuda/rule_view.h"
#include "kernels/cuda/simt.h"

namespace deltaserve::cuda {

// Runs the rule over the step's decode segments: reads and writes their states, fills the out rows
// of every head. Padding (a negative write slot) gets zeros.
void launch_steps(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
