#include "kernels/cuda/layer/mixer_layer.h"

#include "kernels/cuda/layer/conditioning.h"
#include "kernels/cuda/layer/decode_layer.h"
#include "kernels/cuda/layer/features.h"
#include "kernels/cuda/layer/output_norm.h"
#include "kernels/cuda/layer/prefill_features.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "kernels/cuda/rule/delta_steps.h"

namespace deltaserve::cuda {
namespace {

void run_rule(simt::Stream stream, const RuleView& view) {
  if (view.call.mixer.step.num_decode > 0) launch_steps(stream, view);
  if (view.call.num_prefill() > 0) launch_prefill(stream, view, view.call.paths.prefill);
}

// Launches the features in the form that the rule of prefill takes.
void launch_features_for(simt::Stream stream, const LayerCall& call, int first_row) {
  const StepView& step = call.mixer.step;
  const bool images = call.num_prefill() > 0 && call.paths.prefill == PrefillPath::kTensor &&
                      has_image_prefill(call.mixer.shape());
  const bool direct = images && has_image_features(call.mixer.shape(), call.mixer.weights);
  // Decode rows come first.
  const int end_row = direct ? step.num_decode_rows : step.num_rows;
  if (first_row < end_row) launch_features(stream, call, first_row, end_row);
  if (direct) {
    launch_image_features(stream, call);
  } else if (images) {
    launch_rounded_features(stream, call);
  }
}

// Runs the passes before the output norm, for the rows from `first_row` on.
void run_passes(simt::Stream stream, const LayerCall& call, int first_row) {
  const MixerShape& shape = call.mixer.shape();
  launch_features_for(stream, call, first_row);
  launch_raw_rows(stream, call);
  if (shape.precond_heads > 0) launch_precondition(stream, call);
  if (shape.normalised) launch_key_sums(stream, call);
  if (shape.conditioning.on) {
    launch_covariance_rows(stream, call);
    run_rule(stream, {call, Rule::kCovariance});
    launch_conditioned_queries(stream, call);
  }
  if (first_row == 0) {
    run_rule(stream, {call, Rule::kLayer});
  } else {
    launch_prefill(stream, {call, Rule::kLayer}, call.paths.prefill);
  }
}

}  // namespace

void run_mixer_layer(simt::Stream stream, const LayerCall& call) {
  const StepView& step = call.mixer.step;
  const bool one_launch = call.paths.one_launch_decode && step.num_decode == step.num_decode_rows &&
                          has_decode_layer(call.mixer.shape(), call.mixer.weights);
  const int decoded = one_launch ? step.num_decode : 0;
  if (decoded > 0) launch_decode_layer(stream, call);
  if (decoded < step.num_rows) run_passes(stream, call, decoded);
  // Rows whose norm is left to the output projection are finished.
  const int finished = call.head_squares == nullptr ? 0 : decoded;
  if (finished < step.num_rows) launch_output_norm(stream, call, finished);
}

}  // namespace deltaserve::cuda
