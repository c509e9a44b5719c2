#include "tests/kernels/program/layer_cases.h"

#include <limits>

namespace deltaserve {
namespace {

using Normaliser = QueryConditioning::Normaliser;
using GateInput = QueryConditioning::GateInput;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Makes a layer with four states of [24, 20] over two query and key heads, like most layers.
LayerCase layer(std::string name, MixerKind kind) {
  LayerCase c;
  c.name = std::move(name);
  MixerShape& shape = c.shape;
  shape.kind = kind;
  shape.heads = shape.v_heads = shape.beta_heads = 4;
  shape.q_heads = shape.k_heads = 2;
  shape.decay_heads = shape.decay() == Decay::kNone ? 0 : 4;
  shape.decay_gate = shape.decay() == Decay::kNone ? DecayGate::kNone : DecayGate::kSoftplus;
  shape.key_dim = 24;
  shape.value_dim = 20;
  shape.conv_width = 4;
  shape.scale = 0.25f;
  // The value is so large that it shows wrong factors, which a norm would hide otherwise.
  shape.norm_eps = 1e-2f;
  return c;
}

void add_linear_attention(std::vector<LayerCase>& cases) {
  LayerCase c = layer("linear_attention_elu_normalised", MixerKind::kLinearAttention);
  c.gate = false;
  c.shape.q_heads = 4;
  c.shape.v_heads = 2;
  c.shape.beta_heads = 0;
  c.shape.conv_width = 0;
  c.shape.qk_activation = c.shape.v_activation = Activation::kNone;
  c.shape.feature_map = Activation::kEluPlusOne;
  c.shape.q_norm = c.shape.k_norm = FeatureNorm::kNone;
  c.shape.normalised = true;
  cases.push_back(c);
  c.name = "linear_attention_sums";
  c.shape.q_norm = FeatureNorm::kSum;
  c.shape.k_norm = FeatureNorm::kSumPlusEps;
  c.norm = false;
  c.qk_mean = -4;  // sums so small that the 1e-4 changes them
  cases.push_back(c);
  c.name = "linear_attention_products";
  c.shape.feature_map = Activation::kNone;
  c.shape.q_norm = c.shape.k_norm = FeatureNorm::kNone;
  c.shape.product_features = true;
  c.shape.normalised = false;
  c.qk_mean = 0;
  cases.push_back(c);
}

void add_gated_linear_attention(std::vector<LayerCase>& cases) {
  LayerCase c = layer("gla", MixerKind::kGatedLinearAttention);
  c.shape.q_heads = 4;
  c.shape.v_heads = c.shape.decay_heads = 2;
  c.shape.beta_heads = 0;
  c.shape.conv_width = 0;
  c.shape.qk_activation = c.shape.v_activation = Activation::kNone;
  c.shape.q_norm = c.shape.k_norm = FeatureNorm::kNone;
  c.shape.decay_gate = DecayGate::kLogSigmoid;
  c.shape.decay_bound = -kInfinity;
  cases.push_back(c);
  c.name = "gla_clamped_relu";
  c.shape.decay_bound = -0.04f;
  c.shape.feature_map = Activation::kRelu;
  c.shape.conv_width = 2;
  cases.push_back(c);
}

void add_mamba2(std::vector<LayerCase>& cases) {
  LayerCase c = layer("mamba2", MixerKind::kMamba2);
  c.skip = c.conv_bias = true;
  c.shape.beta_heads = 0;
  c.shape.q_norm = c.shape.k_norm = FeatureNorm::kNone;
  c.shape.decay_gate = DecayGate::kTimeStep;
  c.shape.time_step_max = kInfinity;
  c.shape.scale = 1;
  c.shape.output_norm = OutputNorm::kGateThenGroups;
  c.shape.norm_groups = 2;
  cases.push_back(c);
  c.name = "mamba2_clamped_norm_first";
  c.shape.time_step_min = 0.02f;
  c.shape.time_step_max = 0.1f;
  c.shape.output_norm = OutputNorm::kGroupsThenGate;
  cases.push_back(c);
  c.name = "mamba2_without_norm";
  c.norm = c.conv_bias = false;
  c.shape.output_norm = OutputNorm::kGateOnly;
  c.shape.scale = 0.5f;
  cases.push_back(c);
}

void add_delta_rules(std::vector<LayerCase>& cases) {
  LayerCase c = layer("deltanet_sum", MixerKind::kDeltaNet);
  c.gate = false;
  c.shape.qk_activation = Activation::kRelu;
  c.shape.q_norm = c.shape.k_norm = FeatureNorm::kSum;
  cases.push_back(c);
  c = layer("deltanet_without_beta", MixerKind::kDeltaNet);
  c.shape.qk_activation = Activation::kEluPlusOne;
  c.shape.beta_heads = 0;
  cases.push_back(c);
  c.name = "deltanet_constant_beta";
  c.shape.qk_activation = Activation::kNone;
  c.shape.v_activation = Activation::kSigmoid;
  c.shape.beta_heads = 4;
  c.projects_beta = false;
  c.shape.gate_factor = 1.5f;
  cases.push_back(c);
  c = layer("gdn", MixerKind::kGatedDeltaNet);
  cases.push_back(c);
  c.name = "gdn_doubled_ungated_wide_convolution";
  c.gate = false;
  c.shape.gate_factor = 2;
  c.shape.conv_width = 7;
  cases.push_back(c);
  c.name = "gdn_shared_gates_one_tap";
  c.gate = true;
  c.shape.decay_heads = 1;
  c.shape.beta_heads = 2;
  c.shape.k_heads = 1;
  c.shape.conv_width = 1;
  cases.push_back(c);
  c = layer("qdelta", MixerKind::kQDelta);
  c.shape.lambda_bias = 0.9f;
  cases.push_back(c);
  c.name = "qdelta_factor";
  c.shape.gate_factor = 1.25f;
  cases.push_back(c);
  c.name = "qdelta_sum_of_query";
  c.shape.gate_factor = 1;
  c.shape.qk_activation = Activation::kRelu;
  c.shape.q_norm = FeatureNorm::kSumPlusEps;
  cases.push_back(c);
  c = layer("qdelta_released", MixerKind::kQDeltaReleased);
  c.shape.lambda_bias = 0.9f;
  cases.push_back(c);
}

void add_channel_decays(std::vector<LayerCase>& cases) {
  LayerCase c = layer("kda", MixerKind::kKimiDelta);
  c.shape.gate_activation = Activation::kSigmoid;
  cases.push_back(c);
  c.name = "kda_bounded";
  c.shape.decay_gate = DecayGate::kBoundedSigmoid;
  c.shape.decay_bound = -5;
  cases.push_back(c);
  c.name = "kda_bounded_without_a_log";
  c.a_log = false;
  cases.push_back(c);
  c = layer("gdn2", MixerKind::kGatedDeltaNet2);
  c.shape.gate_activation = Activation::kSigmoid;
  c.shape.decay_heads = c.shape.beta_heads = 2;
  cases.push_back(c);
  c.name = "gdn2_doubled";
  c.shape.gate_factor = 2;
  cases.push_back(c);
}

void add_preconditioned(std::vector<LayerCase>& cases) {
  LayerCase c = layer("pdn", MixerKind::kPrecondDeltaNet);
  c.shape.precond_heads = 2;
  cases.push_back(c);
  c = layer("pgdn", MixerKind::kPrecondGatedDeltaNet);
  c.shape.precond_heads = 2;
  cases.push_back(c);
  c = layer("pkda", MixerKind::kPrecondKimiDelta);
  c.shape.precond_heads = 4;
  c.shape.beta_heads = 2;
  c.shape.squash = 1.8f;
  c.shape.squash_eps = 1e-4f;
  c.shape.gate_activation = Activation::kSigmoid;
  cases.push_back(c);
}

void add_conditioned(std::vector<LayerCase>& cases) {
  const auto add = [&](const char* name, MixerKind kind, Normaliser normaliser, GateInput gate,
                       auto... changes) {
    LayerCase c = layer(std::string("ccq_") + name, kind);
    if (kind == MixerKind::kGatedLinearAttention) {
      c.shape.beta_heads = 0;
      c.shape.q_norm = c.shape.k_norm = FeatureNorm::kNone;
    }
    if (kind == MixerKind::kPrecondGatedDeltaNet) c.shape.precond_heads = 2;
    c.shape.conditioning.on = true;
    c.shape.conditioning.normaliser = normaliser;
    c.shape.conditioning.gate_input = gate;
    (changes(c.shape.conditioning), ...);
    cases.push_back(c);
  };
  const auto centered = [](QueryConditioning& ccq) { ccq.centered = true; };
  const auto never_forgets = [](QueryConditioning& ccq) { ccq.backbone_decay = false; };
  const auto l2_keys = [](QueryConditioning& ccq) { ccq.l2_keys = true; };
  const auto renormalised = [](QueryConditioning& ccq) { ccq.renormalise = true; };
  constexpr MixerKind kGla = MixerKind::kGatedLinearAttention;
  constexpr MixerKind kGdn = MixerKind::kGatedDeltaNet;
  add("gla_mean_l2", kGla, Normaliser::kMean, GateInput::kShared, l2_keys);
  add("gla_centered_l2", kGla, Normaliser::kMean, GateInput::kPerHead, centered, l2_keys);
  add("gla_ema", kGla, Normaliser::kEma, GateInput::kFull);
  add("gla_sum", kGla, Normaliser::kNone, GateInput::kShared, renormalised);
  add("gla_centered_never_forgets", kGla, Normaliser::kMean, GateInput::kShared, centered,
      never_forgets);
  add("gdn_mean", kGdn, Normaliser::kMean, GateInput::kPerHead);
  add("gdn_centered", kGdn, Normaliser::kMean, GateInput::kFull, centered, renormalised);
  add("gdn_ema", kGdn, Normaliser::kEma, GateInput::kShared);
  add("kda_ema", MixerKind::kKimiDelta, Normaliser::kEma, GateInput::kShared);
  // In these cases 1 - e^g loses most of its digits.
  for (LayerCase& c : cases) {
    if (c.shape.conditioning.normaliser == Normaliser::kEma) c.decay_mean = -6;
  }
  add("gdn_sum_never_forgets", kGdn, Normaliser::kNone, GateInput::kPerHead, never_forgets);
  add("deltanet_mean", MixerKind::kDeltaNet, Normaliser::kMean, GateInput::kPerHead);
  add("deltanet_centered", MixerKind::kDeltaNet, Normaliser::kMean, GateInput::kShared, centered);
  add("qdelta_mean", MixerKind::kQDelta, Normaliser::kMean, GateInput::kFull);
  add("kda_mean", MixerKind::kKimiDelta, Normaliser::kMean, GateInput::kPerHead);
  add("pgdn_mean", MixerKind::kPrecondGatedDeltaNet, Normaliser::kMean, GateInput::kPerHead);
}

// Adds every backbone of a conditioned query with the numbers that are worst for it.
void add_conditioned_extremes(std::vector<LayerCase>& cases) {
  for (const MixerKind kind :
       {MixerKind::kGatedLinearAttention, MixerKind::kDeltaNet, MixerKind::kGatedDeltaNet,
        MixerKind::kQDelta, MixerKind::kPrecondGatedDeltaNet, MixerKind::kKimiDelta}) {
    LayerCase c = layer("", kind);
    if (kind == MixerKind::kGatedLinearAttention) c.shape.beta_heads = 0;
    if (kind == MixerKind::kPrecondGatedDeltaNet) c.shape.precond_heads = 2;
    c.shape.conditioning.on = true;
    c.shape.conditioning.gate_input = GateInput::kPerHead;
    const std::string name = "ccq_" + std::to_string(static_cast<int>(kind));
    c.name = name + "_odd_sizes";
    c.shape.key_dim = 49;
    c.shape.value_dim = 33;
    cases.push_back(c);
    c.shape.key_dim = 32;
    c.shape.value_dim = 40;
    c.name = name + "_correlated";
    c.qk_mean = 3;
    cases.push_back(c);
    c.qk_mean = 0;
    c.name = name + "_hard_decay";
    c.decay_mean = -20;  // most stay, a few percent decay by e^-60 and more
    c.decay_deviation = 20;
    if (c.shape.decay() != Decay::kNone) cases.push_back(c);
  }
}

}  // namespace

std::vector<LayerCase> layer_cases() {
  std::vector<LayerCase> cases;
  add_linear_attention(cases);
  add_gated_linear_attention(cases);
  add_mamba2(cases);
  add_delta_rules(cases);
  add_channel_decays(cases);
  add_preconditioned(cases);
  add_conditioned(cases);
  add_conditioned_extremes(cases);
  return cases;
}

}  // namespace deltaserve
