// The arguments of one mixer layer in one step, shared by its passes on every device. They are
// plain values and pointers, so that a kernel can take them as its parameter.
#pragma once
#include <cstdint>

#include "kernels/program/head_tokens.h"
#include "kernels/program/program.h"
#include "kernels/program/state_layout.h"
#include "kernels/program/step.h"

namespace deltaserve {

// Pointers to the layer's weight vectors; null if the layer has none of that name.
using MixerWeights = MixerVectors<const float*>;

// The states of one layer in all slots.
struct LayerStates {
  float* slots;         // first slot
  int64_t slot_floats;  // distance between slots
  LayerStateLayout layout;

  DS_HOST_DEVICE float* part(const StateSpan& part, int slot) const {
    return slots + slot * slot_floats + part.offset;
  }
  // Returns S^T of one head, [value_dim, key_stride].
  DS_HOST_DEVICE HeadState head_state(const HeadShape& size, int slot, int64_t head) const {
    auto* heads = reinterpret_cast<unsigned char*>(part(layout.state, slot));
    const int64_t elements = head * size.value_dim * size.key_stride();
    return {heads + elements * static_cast<int64_t>(state_format_size(layout.format)),
            layout.format};
  }
};

// The position of each gate of a token in a row of the gate buffer.
struct GateLayout {
  explicit GateLayout(const MixerShape& shape);

  int64_t g = 0;             // [decay_heads, decay_width] log decay
  int64_t beta = 0;          // [beta_heads]; with a time step [decay_heads]
  int64_t lambda = 0;        // [heads]
  int64_t erase_gate = 0;    // [beta_heads, key_dim]
  int64_t write_gate = 0;    // [heads, value_dim]
  int64_t precond_g = 0;     // [precond_heads]
  int64_t precond_beta = 0;  // [precond_heads]
  int64_t multiplier = 0;    // [precond_heads, key_dim]
  int64_t divisor = 0;       // [heads], for normalised linear attention
  int64_t floats = 0;        // length of a row, padded
};

// The operands of the covariance for one head and token, [4, key_dim] in the conditioning buffer.
enum class CovarianceRow : int64_t { kKey, kWrite, kQuery, kMean };

struct MixerCall {
  MixerLayer layer;
  MixerWeights weights;
  StepView step;
  const float* projected;  // [rows, projection columns]
  float* out;              // [rows, value_columns]
  LayerStates states;

  // ---- Working buffers, [rows, ...]
  float* features;    // [channels] q, k, v after convolution, feature maps and norms
  float* gates;       // GateLayout
  float* queries;     // [heads, key_dim] conditioned; null without conditioning
  float* covariance;  // [heads, 4, key_dim] CovarianceRow; null without conditioning
  GateLayout gate_layout;

  DS_HOST_DEVICE const MixerShape& shape() const { return layer.shape; }
  DS_HOST_DEVICE const float* projected_row(int64_t row) const {
    return projected + row * layer.projection.columns;
  }
  DS_HOST_DEVICE float* feature_row(int64_t row) const {
    return features + row * shape().channels();
  }
  DS_HOST_DEVICE float* gate_row(int64_t row) const { return gates + row * gate_layout.floats; }
  // Returns where a slot has the raw q, k and v of a position >= 0 of its sequence, [channels].
  DS_HOST_DEVICE float* raw_row(int slot, int64_t position) const {
    return states.part(states.layout.conv_rows, slot) +
           position % shape().conv_width * shape().channels();
  }
  DS_HOST_DEVICE float* query_row(int64_t row, int64_t head) const {
    return queries + (row * shape().heads + head) * shape().key_dim;
  }
  DS_HOST_DEVICE float* covariance_row(int64_t row, int64_t head, CovarianceRow part) const {
    return covariance +
           ((row * shape().heads + head) * 4 + static_cast<int64_t>(part)) * shape().key_dim;
  }

  // Return q, k and v of head `head` in the features of `row`.
  DS_HOST_DEVICE const float* q(int64_t row, int64_t head) const {
    return feature_row(row) + group(head, shape().q_heads) * shape().key_dim;
  }
  DS_HOST_DEVICE const float* k(int64_t row, int64_t head) const {
    return feature_row(row) + shape().q_columns() + group(head, shape().k_heads) * shape().key_dim;
  }
  DS_HOST_DEVICE const float* v(int64_t row, int64_t head) const {
    return feature_row(row) + shape().q_columns() + shape().k_columns() +
           group(head, shape().v_heads) * shape().value_dim;
  }
  // Returns the log decays; null without decay.
  DS_HOST_DEVICE const float* g(int64_t row, int64_t head) const {
    if (shape().decay_heads == 0) return nullptr;
    return gate_row(row) + gate_layout.g + group(head, shape().decay_heads) * shape().decay_width();
  }

  // Returns the group that `head` belongs to when the heads form `count` groups.
  DS_HOST_DEVICE int64_t group(int64_t head, int64_t count) const {
    return head / (shape().heads / count);
  }
};

inline GateLayout::GateLayout(const MixerShape& shape) {
  const auto take = [this](int64_t count) {
    const int64_t begin = floats;
    floats += padded_to_16(count);
    return begin;
  };
  const bool time_step = shape.decay_gate == DecayGate::kTimeStep;
  const int64_t betas = int64_t{shape.beta_heads} * shape.key_dim;
  g = take(int64_t{shape.decay_heads} * shape.decay_width());
  beta = take(time_step ? shape.decay_heads : shape.beta_heads);
  lambda = take(shape.heads);
  erase_gate = take(shape.has_erase_gate() ? betas : 0);
  write_gate = take(shape.has_erase_gate() ? shape.value_columns() : 0);
  precond_g = take(shape.precond_heads);
  precond_beta = take(shape.precond_heads);
  multiplier = take(int64_t{shape.precond_heads} * shape.key_dim);
  divisor = take(shape.normalised ? shape.heads : 0);
}

// Returns the operands of one head from `first_row` on.
DS_HOST_DEVICE HeadTokens head_tokens(const MixerCall& call, int64_t first_row, int64_t head) {
  const MixerShape& shape = call.shape();
  const GateLayout& at = call.gate_layout;
  const float* gates = call.gate_row(first_row);
  const auto gate = [&](const float* data) { return TokenRows{data, at.floats}; };
  const auto feature = [&](const float* data) { return TokenRows{data, shape.channels()}; };
  HeadTokens tokens;
  tokens.q = tokens.r = feature(call.q(first_row, head));
  tokens.k = feature(call.k(first_row, head));
  tokens.v = feature(call.v(first_row, head));
  if (call.queries != nullptr) {
    tokens.r = {call.query_row(first_row, head), int64_t{shape.heads} * shape.key_dim};
  }
  tokens.g = gate(call.g(first_row, head));
  tokens.lambda = gate(gates + at.lambda + head);
  const int64_t key_dim = shape.key_dim;
  if (shape.has_erase_gate()) {
    tokens.erase_gate = gate(gates + at.erase_gate + call.group(head, shape.beta_heads) * key_dim);
    tokens.write_gate = gate(gates + at.write_gate + head * shape.value_dim);
  } else if (shape.decay_gate == DecayGate::kTimeStep) {
    tokens.beta = gate(gates + at.beta + call.group(head, shape.decay_heads));
  } else if (shape.beta_heads > 0) {
    tokens.beta = gate(gates + at.beta + call.group(head, shape.beta_heads));
  }
  if (shape.precond_heads > 0) {
    tokens.multiplier =
        gate(gates + at.multiplier + call.group(head, shape.precond_heads) * key_dim);
  }
  tokens.scale = shape.scale;
  return tokens;
}

// Returns the rule of the covariance, P = a P + w k': it decays like the state, or never.
constexpr MixerKind covariance_kind(const MixerShape& shape) {
  return sum_with_decay(shape.conditioning.backbone_decay ? shape.decay() : Decay::kNone);
}

// Returns the operands of one head's covariance: a linear attention with v := k.
DS_HOST_DEVICE HeadTokens covariance_tokens(const MixerCall& call, int64_t first_row,
                                            int64_t head) {
  const auto rows = [&](CovarianceRow part) {
    return TokenRows{call.covariance_row(first_row, head, part),
                     int64_t{call.shape().heads} * 4 * call.shape().key_dim};
  };
  HeadTokens tokens;
  tokens.q = tokens.r = rows(CovarianceRow::kQuery);
  tokens.k = rows(CovarianceRow::kWrite);
  tokens.v = rows(CovarianceRow::kKey);
  tokens.g = {call.g(first_row, head), call.gate_layout.floats};
  return tokens;
}

}  // namespace deltaserve
