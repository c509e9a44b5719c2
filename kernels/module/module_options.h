// The server sets these options of the CUDA module.
#pragma once
#include <cstdint>

namespace deltaserve::cuda {

// Which kernel multiplies by bf16 weights; f32 weights always take launch_plain_matmul.
enum class MatmulKernels : uint8_t {
  // Decode rows by own kernels; prefill rows by cuBLASLt, with one algorithm for all numbers of
  // them, where one passes the self-test at load: it gives a row the same bits among any others. A
  // row's bits depend on its kind and no other row.
  kExact,
  // Own kernels for both kinds, which have the same bits: what kExact becomes without cuBLASLt.
  kTensor,
  // The same, without tensor cores, and from activations that are not rounded: what all become
  // where tensor cores fail their self-test.
  kPlain,
  kLibraryForRows,  // cuBLASLt, as it chooses for each number of rows: bits depend on the batch
};

// This crosses the boundary of boundary.h.
struct ModuleOptions {
  MatmulKernels matmuls = MatmulKernels::kExact;
};

}  // namespace deltaserve::cuda
