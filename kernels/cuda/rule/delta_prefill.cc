#include "kernels/cuda/rule/delta_prefill.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/rule/prefill_chain.h"
#include "kernels/cuda/rule/prefill_gram.h"
#include "kernels/cuda/rule/prefill_images.h"
#include "kernels/cuda/rule/prefill_operands.h"
#include "kernels/cuda/rule/prefill_plain.h"
#include "kernels/cuda/rule/prefill_state.h"
#include "kernels/cuda/rule/prefill_tiles.h"

namespace deltaserve::cuda {

size_t prefill_scratch_bytes(const MixerShape& shape, int64_t max_chunks) {
  const size_t plain = plain_chunk_bytes(shape.key_dim);
  const auto tensor = static_cast<size_t>(TensorChunk{shape.key_dim}.bytes());
  const auto images =
      static_cast<size_t>(has_image_prefill(shape) ? PrefillImages::feature_bytes(shape) +
                                                         PrefillImages::operand_bytes(shape)
                                                   : 0);
  return std::max(std::max(plain, tensor) * static_cast<size_t>(shape.heads), images) *
         static_cast<size_t>(max_chunks);
}

bool has_tensor_prefill(const MixerShape& shape) {
  return has_tensor_state(shape.key_dim, shape.value_dim);
}

bool has_image_prefill(const MixerShape& shape) {
  return is_delta_of_keys(shape.kind) && has_tensor_prefill(shape) && !shape.conditioning.on;
}

void launch_prefill(simt::Stream stream, const RuleView& view, PrefillPath path) {
  if (view.call.num_prefill() == 0) return;
  if (path == PrefillPath::kPlain) return launch_plain_prefill(stream, view);
  DS_CHECK(has_tensor_state(view.size().key_dim, view.size().value_dim));
  if (has_image_prefill(view.call.mixer.shape())) {
    launch_prefill_operands(stream, view);
    return launch_prefill_chain(stream, view);
  }
  launch_tensor_gram(stream, view);
  launch_tensor_state(stream, view);
}

}  // namespace deltaserve::cuda
