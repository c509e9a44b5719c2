// Chunkwise prefill in float multiply-adds, for any sizes and any mixer. The tensor path is
// compared with it and falls back to it.
#pragma once
#include <cstddef>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Returns the bytes of scratch that one chunk of one head takes.
size_t plain_chunk_bytes(int64_t key_dim);

void launch_plain_prefill(simt::Stream stream, const RuleView& view);

}  // namespace deltaserve::cuda
