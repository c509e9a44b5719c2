#include "kernels/cuda/delta_prefill.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/prefill_plain.h"

namespace deltaserve::cuda {

size_t prefill_scratch_bytes(const MixerShape& shape, int64_t max_chunks) {
  const size_t bytes = plain_chunk_bytes(shape.key_dim);
  return bytes * static_cast<size_t>(max_chunks * shape.heads);
}

bool has_tensor_prefill(const MixerShape&) {
  return false;
}

void launch_prefill(simt::Stream stream, const RuleView& view, PrefillPath path) {
  DS_CHECK(path == PrefillPath::kPlain);
  if (view.call.num_prefill() == 0) return;
  launch_plain_prefill(stream, view);
}

}  // namespace deltaserve::cuda
