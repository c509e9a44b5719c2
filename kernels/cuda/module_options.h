// What the server asks of the CUDA module.
#pragma once
#include <cstdint>

namespace deltaserve::cuda {

// Which kernel multiplies by bf16 weights; f32 weights always take launch_plain_product.
enum class Products : uint8_t {
  kTensor,          // a row's bits depend on no other row
  kPlain,           // the same, without tensor cores, and from activations that are not rounded
  kLibrary,         // cuBLASLt, LibraryChoice::kOnce
  kLibraryForRows,  // cuBLASLt, LibraryChoice::kForRows
};

// Crosses the boundary of module.h.
struct ModuleOptions {
  Products products = Products::kTensor;
};

}  // namespace deltaserve::cuda
