// Which instructions multiply quantised weights.
#pragma once
#include <string>

#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {

// Whether kernels on `path` may run on this processor, as Highway dispatches them now.
bool supports_path(IntegerPath path);

struct IntegerSupport {
  IntegerPath path = IntegerPath::kPlain;
  std::string warning;  // names a path that the processor offers but that computed wrong bits
};

// The fastest path that gave the bits of kPlain on random data. Computed at the first call.
const IntegerSupport& integer_support();

}  // namespace deltaserve::cpu
