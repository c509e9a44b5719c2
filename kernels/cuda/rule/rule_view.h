// Says which rule a kernel runs over a step: the layer's own, or the one that carries the
// covariance of a conditioned query, which is a linear attention with v := k (conditioning.h).
#pragma once
#include <cstdint>

#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

enum class Rule : uint8_t { kLayer, kCovariance };

struct RuleView {
  LayerCall call;
  Rule rule = Rule::kLayer;

  MixerKind kind() const {
    return rule == Rule::kLayer ? call.mixer.shape().kind : covariance_kind(call.mixer.shape());
  }
  // Returns the format of the stored states; the covariance is always float.
  StateFormat format() const {
    return rule == Rule::kLayer ? call.mixer.states.layout.format : StateFormat::kF32;
  }
  DS_HOST_DEVICE int32_t heads() const { return call.mixer.shape().heads; }
  DS_HOST_DEVICE HeadShape size() const {
    const MixerShape& shape = call.mixer.shape();
    return {shape.key_dim, rule == Rule::kLayer ? shape.value_dim : shape.key_dim};
  }
  DS_HOST_DEVICE HeadTokens tokens(int64_t first_row, int64_t head) const {
    if (rule == Rule::kLayer) return head_tokens(call.mixer, first_row, head);
    return covariance_tokens(call.mixer, first_row, head);
  }
  // Returns S^T of a head in a slot, [value_dim, key_stride] of format().
  DS_HOST_DEVICE void* state(int slot, int64_t head) const {
    const LayerStates& states = call.mixer.states;
    const HeadShape shape = size();
    if (rule == Rule::kLayer) return states.head_state(shape, slot, head).data;
    return states.part(states.layout.covariance, slot) +
           head * shape.value_dim * shape.key_stride();
  }
  // Returns the place of the rule's result for a token and head, [value_dim].
  DS_HOST_DEVICE float* out(int64_t row, int64_t head) const {
    if (rule == Rule::kCovariance) return call.mixer.query_row(row, head);
    return call.mixer.out + call.out_row(row) + head * call.mixer.shape().value_dim;
  }
};

}  // namespace deltaserve::cuda
