// The kernels of launch_tensor_matmul are tested at load on the device that is there.
#pragma once
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {

// A device is trusted with this.
struct TensorSupport {
  bool matmuls = false;  // kernels of every device: they give what launch_plain_matmul does
  bool wide = false;     // kWide has their bits
  bool ends = false;     // factors and ends agree with float64, with equal bits in every kernel

  friend bool operator==(const TensorSupport&, const TensorSupport&) = default;
};

TensorSupport test_tensor_matmuls(Runtime& runtime);

}  // namespace deltaserve::cuda
