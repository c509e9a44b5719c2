// Tests look at the results of a launch on the default stream at once: on a GPU it is waited for.
#include "kernels/cuda/device/simt.h"

namespace {

[[maybe_unused]] const bool are_waited_for = deltaserve::simt::synchronous_launches = true;

}  // namespace
