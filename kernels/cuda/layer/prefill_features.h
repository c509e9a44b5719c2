// Makes q, k and v of the step's prefill rows as images in bf16 (prefill_images.h), for layers for
// which has_image_prefill() of delta_prefill.h is true.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Returns true if launch_image_features() supports the layer.
bool has_image_features(const MixerShape& shape, const MixerWeights& weights);

// Turns projections into images and gates, for all prefill rows that are not padding.
void launch_image_features(simt::Stream stream, const LayerCall& call);

// Turns MixerCall::features into images.
void launch_rounded_features(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
