// The gate that follows the rule, and decode rows whose norm the output projection applies
// (LayerCall::head_squares).
#pragma once
#include "kernels/cuda/layer/activation.h"
#include "kernels/cuda/layer/row_norm.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns act(gate) of a column of the heads' values; 1 without a gate.
DS_DEVICE float output_gate(const MixerCall& call, int64_t row, int column) {
  const int32_t gate = call.layer.projection.gate;
  if (gate < 0) return 1;
  return activate(call.shape().gate_activation, call.projected_row(row)[gate + column]);
}

// Returns what multiplies value `c` of a head after a norm over each head.
DS_DEVICE float head_factor(const MixerCall& call, int64_t row, int head, int c) {
  const float* weights = call.weights.norm;
  const float weight = weights == nullptr ? 1.0f : weights[c];
  return output_gate(call, row, head * call.shape().value_dim + c) * weight;
}

// Stores value `c` of a head, `o`, times `factor`, and the squares of its group of values, where
// the lane is `inside` of the head's. Reached by whole warps, whose lanes have neighbouring values
// from a multiple of kSquareGroup on.
DS_DEVICE void store_unnormed(const LayerCall& call, int64_t row, int head, int c, bool inside,
                              float o, float factor) {
  const MixerShape& shape = call.mixer.shape();
  const int column = head * shape.value_dim + c;
  float square[1] = {simt::rounded_product(o, o)};
  simt::lanes_sum<kSquareGroup>(square);
  if (!inside) return;
  call.out_bf16[call.out_row(row) + column] = f32_to_bf16(o * factor);
  if (simt::lane_index() % kSquareGroup > 0) return;
  call.head_squares[(row * shape.value_columns() + column) / kSquareGroup] = square[0];
}

}  // namespace deltaserve::cuda
