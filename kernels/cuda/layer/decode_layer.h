// One launch for all of a mixer layer's decode rows: short convolution, feature maps, norms, gates,
// the rule and the gated output norm. A head's state is split along V over the blocks of a cluster,
// which share what spans the head: the mean square of its output, and the convolution's tail.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns true if the kernel takes these sizes and parts: a query, key and value head a state, a
// short convolution, a norm over each head; no preconditioner, conditioned query, normaliser or
// skip. Everything else decodes by the passes of mixer_layer.h.
bool has_decode_layer(const MixerShape& shape, const MixerWeights& weights);

// Returns the most decode rows of a step for which this is faster than the passes.
int32_t one_launch_rows(const MixerShape& shape);

// Decode rows of the step, whose decode segments have one row each: fills MixerCall::out and
// out_bf16, updates states and tails. Needs compute capability 9.0. Bits are those of the passes,
// as far as nvcc compiles what both share to the same instructions (layer_self_test.h compares
// them).
void launch_decode_layer(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
