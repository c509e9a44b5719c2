// One mixer layer on a GPU: the launches of its passes in order.
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

// Turns the rows of the projections into the input of the output projection (MixerCall::out and
// LayerCall::out_bf16). Updates the slots' states.
void run_mixer_layer(simt::Stream stream, const LayerCall& call);

}  // namespace deltaserve::cuda
