// The sequential half of the tensor path of prefill.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

inline constexpr int kTensorColumns = 64;  // of a state that one block carries

constexpr bool has_tensor_state(int64_t key_dim, int64_t value_dim) {
  return (key_dim == 64 || key_dim == 128 || key_dim == 256) && value_dim % kTensorColumns == 0;
}

// Turns the TensorChunks that launch_tensor_gram wrote into outputs and states.
void launch_tensor_state(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
