// Stands for delta_prefill.cc where that is not built: tests that reach it abort.
#include "kernels/base/check.h"
#include "kernels/cuda/delta_prefill.h"

namespace deltaserve::cuda {

size_t prefill_scratch_bytes(const MixerShape&, int64_t) {
  return 0;
}

void launch_prefill(simt::Stream, const RuleView&, PrefillPath) {
  DS_CHECK(false);
}

}  // namespace deltaserve::cuda
