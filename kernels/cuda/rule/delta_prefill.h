// The generalised delta rule over chunks of 64 tokens, in the form of mixer/delta_rule.h.
#pragma once
#include <cstddef>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Returns the bytes of LayerCall::prefill_scratch for steps of at most `max_chunks` chunks.
size_t prefill_scratch_bytes(const MixerShape& shape, int64_t max_chunks);

// Returns true if kTensor has a kernel for these sizes.
bool has_tensor_prefill(const MixerShape& shape);

// Returns true if kTensor reads q, k and v as images in bf16 (prefill_features.h), not as floats.
bool has_image_prefill(const MixerShape& shape);

// Runs the rule over the step's prefill segments.
void launch_prefill(simt::Stream stream, const RuleView& view, PrefillPath path);

}  // namespace deltaserve::cuda
