// The sequential half of the tensor path of prefill with the inverse on the write side. With
// T = (I + A)^-1 the chunk form of mixer/delta_rule.h becomes
//
//   P = value - (e^G erase) S0      O = (e^G read) S0 + M P      M = Q T
//                                   S' = e^{G_n} S0 + W~^T P     W~ = T^T (e^{G_n - G} write)
//
// so that two products follow one another from chunk to chunk instead of three, and one bf16 is
// enough for every operand: errors of P are not amplified by T.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Columns of S a block, 32, 64 or, where they divide the values, 128; 0: by the number of blocks.
// It has no influence on bits.
inline int chain_columns_for_benchmarks = 0;

// Turns the ChunkOperands that launch_prefill_operands wrote into outputs and states.
void launch_prefill_chain(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
