// Chooses the instructions that multiply weights.
#pragma once
#include <string>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {

// Return true if kernels on `path`, or over `panels`, may run on this processor, as Highway
// dispatches them now.
bool supports(IntegerPath path);
bool supports(Bf16Panels panels);

// The fastest choices for which the processor has the instructions and which passed a self-test on
// random data: integers must give the bits of kPlain, pairs of bf16 the sums of float64.
struct MatmulSupport {
  IntegerPath integers = IntegerPath::kPlain;
  Bf16Panels bf16 = Bf16Panels::kSingles;
  std::string warning;  // names instructions that failed the self-test
};

// Returns the support of this processor. The first call runs the self-tests.
const MatmulSupport& matmul_support();

}  // namespace deltaserve::cpu
