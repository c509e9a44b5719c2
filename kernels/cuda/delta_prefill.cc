#include "kernels/cuda/delta_prefill.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/prefill_gram.h"
#include "kernels/cuda/prefill_plain.h"
#include "kernels/cuda/prefill_state.h"
#include "kernels/cuda/prefill_tiles.h"

namespace deltaserve::cuda {

size_t prefill_scratch_bytes(const MixerShape& shape, int64_t max_chunks) {
  const size_t plain = plain_chunk_bytes(shape.key_dim);
  const auto tensor = static_cast<size_t>(TensorChunk{shape.key_dim}.bytes());
  return std::max(plain, tensor) * static_cast<size_t>(max_chunks * shape.heads);
}

bool has_tensor_prefill(const MixerShape& shape) {
  return has_tensor_state(shape.key_dim, shape.value_dim);
}

void launch_prefill(simt::Stream stream, const RuleView& view, PrefillPath path) {
  if (view.call.num_prefill() == 0) return;
  if (path == PrefillPath::kPlain) return launch_plain_prefill(stream, view);
  DS_CHECK(has_tensor_state(view.size().key_dim, view.size().value_dim));
  launch_tensor_gram(stream, view);
  launch_tensor_state(stream, view);
}

}  // namespace deltaserve::cuda
