// Chunkwise prefill in float multiply-adds: any sizes, any mixer. What the tensor path is compared
// with and falls back to.
#pragma once
#include <cstddef>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Of the scratch, of one chunk of one head.
size_t plain_chunk_bytes(int64_t key_dim);

void launch_plain_prefill(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
