// The generalised delta rule token by token: decode.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Runs the rule over the step's decode segments: reads and writes their states, fills out rows of
// every head. The state is rounded to its format after every row, so that a segment of several
// rows has the bits of as many steps of one row each. Padding (a negative write slot) is skipped.
// It reads states in front of simt::await_launches_before(), so the launch before it must not write
// them.
void launch_steps(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
