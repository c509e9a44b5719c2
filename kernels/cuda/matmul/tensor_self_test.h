// Tests the kernels of launch_tensor_matmul at load, on the present device.
#pragma once
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {

// The kernels that passed on a device.
struct TensorSupport {
  bool matmuls = false;  // the kernels for every device agree with launch_plain_matmul
  bool wide = false;     // kWide has the same bits as they
  bool ends = false;     // factors and ends agree with float64, with equal bits in every kernel

  friend bool operator==(const TensorSupport&, const TensorSupport&) = default;
};

TensorSupport test_tensor_matmuls(Runtime& runtime);

}  // namespace deltaserve::cuda
