#include "kernels/cuda/mixer_layer.h"

#include "kernels/cuda/conditioning.h"
#include "kernels/cuda/delta_prefill.h"
#include "kernels/cuda/delta_steps.h"
#include "kernels/cuda/features.h"
#include "kernels/cuda/output_norm.h"

namespace deltaserve::cuda {
namespace {

bool has_own_chunk_operands(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kOwnChunkOperands; });
}

// The rule over the step's prefill segments.
void run_prefill(simt::Stream stream, const RuleView& view) {
  if (has_own_chunk_operands(view.kind())) {
    launch_prefill(stream, view, PrefillPath::kPlain);
  } else {
    launch_steps(stream, view, view.call.mixer.step.num_decode, view.call.num_prefill());
  }
}

void run_rule(simt::Stream stream, const RuleView& view) {
  const int num_decode = view.call.mixer.step.num_decode;
  if (num_decode > 0) launch_steps(stream, view, 0, num_decode);
  if (view.call.num_prefill() > 0) run_prefill(stream, view);
}

}  // namespace

void run_mixer_layer(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  launch_features(stream, call);
  if (call.num_prefill() > 0) launch_conv_tails(stream, call);
  if (shape.precond_heads > 0) launch_precondition(stream, call);
  if (shape.normalised) launch_key_sums(stream, call);
  if (shape.conditioning.on) {
    launch_covariance_rows(stream, call);
    run_rule(stream, {call, Rule::kCovariance});
    launch_conditioned_queries(stream, call);
  }
  run_rule(stream, {call, Rule::kLayer});
  launch_output_norm(stream, call);
}

}  // namespace deltaserve::cuda
