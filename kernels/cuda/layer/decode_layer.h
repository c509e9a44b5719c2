// Short convolution, feature maps, norms, gates and the rule for all of a mixer layer's decode rows
// in one launch. A head's state is split along V over as many blocks as fill the device, each of
// which prepares the token for itself; they need nothing of each other.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns true if the kernel takes these sizes and parts: a query, key and value head a state, keys
// of at most 256 channels, a short convolution; no preconditioner, conditioned query, normaliser or
// skip. Everything else decodes by the passes of mixer_layer.h.
bool has_decode_layer(const MixerShape& shape, const MixerWeights& weights);

// Computes the decode rows of a step whose decode segments have one row each: fills MixerCall::out
// with what the rule reads, before the output norm, and updates states and raw rows. Padding is
// skipped. If LayerCall::head_squares is set, it fills that and out_bf16 instead, with zeros for
// padding. It reads states in front of simt::await_launches_before(), so the launch before it must
// not write them. Bits are those of the passes, as far as nvcc compiles what both share to the same
// instructions (layer_self_test.h compares them), and do not depend on LayerPaths::decode_parts.
void launch_decode_layer(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
