// One mixer layer of one step on the CPU: what its passes share. Private to mixer_*.cc.
#pragma once
#include <cstdint>

#include "kernels/cpu/delta_rule_cpu.h"
#include "kernels/ops.h"
#include "kernels/state_layout.h"

namespace deltaserve::cpu {

// As MixerLayer has them; null where the layer has none.
struct MixerWeights {
  const float *conv, *conv_bias;
  const float *a_log, *dt_bias;
  const float *precond_a_log, *precond_dt_bias, *precond_center;
  const float *conditioning, *conditioning_bias;
  const float *skip, *norm;
};

// The states of one layer in all slots.
struct LayerStates {
  float* slots;         // first slot
  int64_t slot_floats;  // distance between slots
  LayerStateLayout layout;
  Dtype state_dtype = Dtype::kF32;

  float* part(const StatePart& part, int slot) const {
    return slots + slot * slot_floats + part.offset;
  }
  // S^T of one head, [value_dim, key_stride].
  HeadState head_state(const HeadShape& size, int slot, int64_t head) const {
    auto* heads = reinterpret_cast<unsigned char*>(part(layout.state, slot));
    const int64_t elements = head * size.value_dim * size.key_stride();
    return {heads + elements * static_cast<int64_t>(dtype_size(state_dtype)), state_dtype};
  }
};

// Where the gates of a token stand in a row of the gate buffer.
struct GateLayout {
  explicit GateLayout(const MixerShape& shape);

  int64_t g = 0;             // [decay_heads, decay_width] log decay
  int64_t beta = 0;          // [beta_heads], of a time step [decay_heads]
  int64_t lambda = 0;        // [heads]
  int64_t erase_gate = 0;    // [beta_heads, key_dim]
  int64_t write_gate = 0;    // [heads, value_dim]
  int64_t precond_g = 0;     // [precond_heads]
  int64_t precond_beta = 0;  // [precond_heads]
  int64_t multiplier = 0;    // [precond_heads, key_dim]
  int64_t divisor = 0;       // [heads] of normalised linear attention
  int64_t floats = 0;        // of a row, padded
};

// Operands of the covariance of one head and token, [4, key_dim] in the conditioning buffer.
enum class CovarianceRow : int64_t { kKey, kWrite, kQuery, kMean };

struct MixerCall {
  const MixerLayer& layer;
  const MixerWeights& weights;
  const StepView& step;
  const float* projected;  // [rows, projection columns]
  float* out;              // [rows, value_columns]
  const LayerStates& states;

  // ---- Working buffers, [rows, ...]
  float* features;    // [channels] q, k, v after convolution, feature maps and norms
  float* gates;       // GateLayout
  float* queries;     // [heads, key_dim] conditioned; null without conditioning
  float* covariance;  // [heads, 4, key_dim] CovarianceRow; null without conditioning
  GateLayout gate_layout;

  const MixerShape& shape() const { return layer.shape; }
  const float* projected_row(int64_t row) const {
    return projected + row * layer.projection.columns;
  }
  float* feature_row(int64_t row) const { return features + row * shape().channels(); }
  float* gate_row(int64_t row) const { return gates + row * gate_layout.floats; }
  float* query_row(int64_t row, int64_t head) const {
    return queries + (row * shape().heads + head) * shape().key_dim;
  }
  float* covariance_row(int64_t row, int64_t head, CovarianceRow part) const {
    return covariance +
           ((row * shape().heads + head) * 4 + static_cast<int64_t>(part)) * shape().key_dim;
  }

  // q, k and v of head `head` in the features of `row`.
  const float* q(int64_t row, int64_t head) const {
    return feature_row(row) + group(head, shape().q_heads) * shape().key_dim;
  }
  const float* k(int64_t row, int64_t head) const {
    return feature_row(row) + shape().q_columns() + group(head, shape().k_heads) * shape().key_dim;
  }
  const float* v(int64_t row, int64_t head) const {
    return feature_row(row) + shape().q_columns() + shape().k_columns() +
           group(head, shape().v_heads) * shape().value_dim;
  }
  // Null without decay.
  const float* g(int64_t row, int64_t head) const {
    if (shape().decay_heads == 0) return nullptr;
    return gate_row(row) + gate_layout.g + group(head, shape().decay_heads) * shape().decay_width();
  }

  // Which of `count` groups of heads `head` belongs to.
  int64_t group(int64_t head, int64_t count) const { return head / (shape().heads / count); }
};

// ---- mixer_features.cc: rows [begin, end) of a segment
void compute_features(const MixerCall& call, const Segment& segment, int64_t begin, int64_t end);

// ---- mixer_conditioning.cc: sequential over a segment's tokens
// The multipliers of one head of a preconditioner; updates its state.
void precondition_head(const MixerCall& call, const Segment& segment, int64_t precond_head);
// The conditioned queries of one head; updates its covariance.
void condition_queries(const MixerCall& call, const Segment& segment, bool decode, int64_t head,
                       float* scratch);
// The divisors of normalised linear attention of one head; updates its sum of keys.
void sum_keys(const MixerCall& call, const Segment& segment, int64_t head);

}  // namespace deltaserve::cpu
