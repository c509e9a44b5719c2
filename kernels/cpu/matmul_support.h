// Which instructions multiply weights.
#pragma once
#include <string>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {

// Whether kernels on `path`, or over `panels`, may run on this processor, as Highway dispatches
// them now.
bool supports(IntegerPath path);
bool supports(Bf16Panels panels);

// The fastest for which the processor has the instructions, of those that proved themselves here on
// random data: integers gave the bits of kPlain, pairs of bf16 the sums of float64.
struct MatmulSupport {
  IntegerPath integers = IntegerPath::kPlain;
  Bf16Panels bf16 = Bf16Panels::kSingles;
  std::string warning;  // names what the processor offers but computed wrongly
};

// Computed at the first call.
const MatmulSupport& matmul_support();

}  // namespace deltaserve::cpu
