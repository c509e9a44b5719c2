// The computation of a mixer layer around its rule: sizes, feature maps, gates, output norm. Every
// mixer of the family is one setting of these fields; kernels branch on them, never on a model's
// name. It is plain data, so that it can cross the boundary of a separately loaded module.
#pragma once
#include <cstdint>

#include "kernels/mixer/gates.h"
#include "kernels/mixer/mixers.h"

namespace deltaserve {

enum class Activation : uint8_t { kNone, kSilu, kRelu, kEluPlusOne, kSigmoid };

// The norm over the channels of one query or key head.
enum class FeatureNorm : uint8_t {
  kNone,
  kL2,          // x / sqrt(sum(x^2) + kL2NormEps)
  kSum,         // x / sum(x)
  kSumPlusEps,  // x / (sum(x) + kSumNormEps)
};

enum class OutputNorm : uint8_t {
  kHead,            // norm over each value head, weight [value_dim], then times act(gate)
  kGateThenGroups,  // times act(gate), then norm over each group of channels, weight [all channels]
  kGroupsThenGate,  // the other order
  kGateOnly,
};

// The curvature-conditioned query (arXiv 2606.01294): the rule reads with q - l Sigma q, where
// Sigma is the running covariance of the keys and l = sigmoid(w . q + b).
struct QueryConditioning {
  enum class Normaliser : uint8_t { kNone, kMean, kEma };
  enum class GateInput : uint8_t {
    kShared,   // w [1, key_dim], b [1]
    kPerHead,  // w [heads, key_dim], b [heads]
    kFull,     // w [heads, heads * key_dim], b [heads]: all heads' queries
  };

  bool on = false;
  Normaliser normaliser = Normaliser::kMean;
  bool centered = false;       // subtracts mean mean^T; with kMean only
  bool backbone_decay = true;  // the covariance decays like the state; false: never
  bool l2_keys = false;        // keys are l2-normalised before they enter the covariance
  bool renormalise = false;    // l2-normalises the new query
  GateInput gate_input = GateInput::kShared;

  constexpr bool has_mean() const { return centered && normaliser == Normaliser::kMean; }
  bool operator==(const QueryConditioning&) const = default;
};

struct MixerShape {
  MixerKind kind = MixerKind::kQDelta;

  // ---- Sizes. The layer has `heads` states of [key_dim, value_dim]. Each other count divides
  // `heads`; head h uses the features of head h / (heads / count) of that kind.
  int32_t heads = 0;
  int32_t q_heads = 0;
  int32_t k_heads = 0;
  int32_t v_heads = 0;
  int32_t decay_heads = 0;  // 0 = no decay; each is [1] or [key_dim], as the rule's decay
  // 0 = beta is 1, or the time step. Counts an erase gate's heads too. If there are heads but no
  // column in the projection, beta is gate_factor.
  int32_t beta_heads = 0;
  int32_t precond_heads = 0;  // 0 = no preconditioner
  int32_t key_dim = 0;
  int32_t value_dim = 0;

  // ---- Features
  int32_t conv_width = 0;                        // 0 = no short convolution
  Activation qk_activation = Activation::kSilu;  // after the convolution
  Activation v_activation = Activation::kSilu;
  Activation feature_map = Activation::kNone;  // applied to q and k after that
  bool product_features = false;  // q and k are products of two linear maps: ProjectionLayout
  FeatureNorm q_norm = FeatureNorm::kL2;
  FeatureNorm k_norm = FeatureNorm::kL2;
  float scale = 1;  // factor of the query in the read

  // ---- Gates
  DecayGate decay_gate = DecayGate::kNone;
  float decay_bound = 0;
  float time_step_min = 0;
  float time_step_max = 0;
  float gate_factor = 1;  // 2 with allow_neg_eigval: multiplies beta, the erase gate and lambda
  float lambda_bias = 0;  // subtracted from lambda's logit
  float squash = 1.5f;    // x of the preconditioner
  float squash_eps = 1e-6f;
  QueryConditioning conditioning;

  // ---- Output
  bool normalised = false;  // divides by scale q . (sum of keys) + kKeySumEps (linear attention)
  OutputNorm output_norm = OutputNorm::kHead;
  int32_t norm_groups = 1;
  Activation gate_activation = Activation::kSilu;
  float norm_eps = 1e-6f;

  constexpr int32_t q_columns() const { return q_heads * key_dim; }
  constexpr int32_t k_columns() const { return k_heads * key_dim; }
  constexpr int32_t v_columns() const { return v_heads * value_dim; }
  // Returns the channels of the convolution: q, k, v.
  constexpr int32_t channels() const { return q_columns() + k_columns() + v_columns(); }
  // Returns the columns of the layer's result.
  constexpr int32_t value_columns() const { return heads * value_dim; }
  constexpr Decay decay() const { return decay_of(kind); }
  constexpr bool has_erase_gate() const { return has_channel_gates(kind); }
  constexpr int32_t decay_width() const { return decay() == Decay::kPerChannel ? key_dim : 1; }
  // Returns the entries per head of the decayed key count by which kMean divides.
  constexpr int32_t count_width() const {
    return conditioning.backbone_decay && decay() == Decay::kPerChannel ? key_dim : 1;
  }
  bool operator==(const MixerShape&) const = default;
};

}  // namespace deltaserve
