// Tests the config keys of every model type: their effect on the mixer, and which values are
// refused.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "models/mapping/config.h"
#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

absl::StatusOr<ModelConfig> parse(const std::string& type, const std::string& members = "") {
  const std::string more = members.empty() ? "" : ", " + members;
  return parse_model_config(R"({"model_type": ")" + type + "\"" + more + "}", "config.json");
}

// The sizes of a type that has no keys.
struct Default {
  const char* type;
  MixerKind kind;
  int layers, heads, key_dim, value_dim, conv_width;
  bool gate;
};

constexpr Default kDefaults[] = {
    {"qdelta", MixerKind::kQDeltaReleased, 21, 6, 256, 512, 4, true},
    {"gated_deltanet", MixerKind::kGatedDeltaNet, 21, 6, 256, 512, 4, true},
    {"precond_gated_deltanet", MixerKind::kPrecondGatedDeltaNet, 21, 6, 256, 512, 4, true},
    {"precond_delta_net", MixerKind::kPrecondDeltaNet, 21, 6, 256, 512, 4, true},
    {"kda", MixerKind::kKimiDelta, 24, 16, 128, 128, 4, true},
    {"precond_kda", MixerKind::kPrecondKimiDelta, 24, 16, 128, 128, 4, true},
    {"gdn2", MixerKind::kGatedDeltaNet2, 24, 16, 128, 128, 4, true},
    {"delta_net", MixerKind::kDeltaNet, 24, 16, 128, 128, 4, false},
    {"gla", MixerKind::kGatedLinearAttention, 24, 4, 256, 512, 0, true},
    {"linear_attn", MixerKind::kLinearAttention, 24, 4, 512, 512, 0, false},
    {"mamba2", MixerKind::kMamba2, 48, 64, 128, 64, 4, true},
};

TEST(FamilyConfig, Defaults) {
  for (const Default& d : kDefaults) {
    SCOPED_TRACE(d.type);
    const auto config = parse(d.type);
    ASSERT_TRUE(config.ok()) << config.status();
    const MixerShape& mixer = config->layers[0].mixer;
    EXPECT_EQ(mixer.kind, d.kind);
    EXPECT_EQ(config->num_layers(), d.layers);
    EXPECT_EQ(mixer.heads, d.heads);
    EXPECT_EQ(mixer.v_heads, d.heads);
    EXPECT_EQ(mixer.key_dim, d.key_dim);
    EXPECT_EQ(mixer.value_dim, d.value_dim);
    EXPECT_EQ(mixer.conv_width, d.conv_width);
    EXPECT_EQ(config->layers[0].tensors.output_gate, d.gate);
    EXPECT_FALSE(config->tie_word_embeddings);
    const bool mamba = mixer.kind == MixerKind::kMamba2;
    EXPECT_EQ(mixer.q_heads, mamba ? 1 : d.heads);
    EXPECT_EQ(config->layers[0].intermediate_size, mamba ? 0 : 5632);
    EXPECT_FLOAT_EQ(config->norm_eps, mamba ? 1e-5f : 1e-6f);
    EXPECT_FLOAT_EQ(mixer.norm_eps, config->norm_eps);
    EXPECT_FLOAT_EQ(mixer.scale, mamba ? 1 : 1 / std::sqrt(static_cast<float>(d.key_dim)));
    EXPECT_FALSE(mixer.conditioning.on);
  }
}

TEST(FamilyConfig, KimiDelta) {
  const auto config = parse("kda", R"("num_heads": 2, "num_v_heads": 6, "head_dim": 120,
      "expand_v": 1.1, "safe_gate": true, "lower_bound": -5, "allow_neg_eigval": true)");
  ASSERT_TRUE(config.ok()) << config.status();
  const MixerShape& mixer = config->layers[0].mixer;
  EXPECT_EQ(mixer.heads, 6);
  EXPECT_EQ(mixer.k_heads, 2);
  EXPECT_EQ(mixer.decay_heads, 6);
  EXPECT_EQ(mixer.beta_heads, 6);
  EXPECT_EQ(mixer.value_dim, 132);
  EXPECT_EQ(mixer.decay_gate, DecayGate::kBoundedSigmoid);
  EXPECT_EQ(mixer.decay_bound, -5);
  EXPECT_EQ(mixer.gate_factor, 2);
  EXPECT_EQ(mixer.gate_activation, Activation::kSigmoid);
}

TEST(FamilyConfig, PreconditionedHeads) {
  const char* heads = R"("num_heads": 2, "num_v_heads": 4, "head_dim": 8, "squash_x": 2,
      "squash_eps": 1e-3)";
  const auto pgdn = parse("precond_gated_deltanet", heads);
  ASSERT_TRUE(pgdn.ok()) << pgdn.status();
  EXPECT_EQ(pgdn->layers[0].mixer.precond_heads, 2);
  EXPECT_EQ(pgdn->layers[0].mixer.beta_heads, 4);
  EXPECT_EQ(pgdn->layers[0].mixer.squash, 2);
  EXPECT_FLOAT_EQ(pgdn->layers[0].mixer.squash_eps, 1e-3f);
  const auto pkda = parse("precond_kda", heads);
  ASSERT_TRUE(pkda.ok()) << pkda.status();
  EXPECT_EQ(pkda->layers[0].mixer.precond_heads, 4);
  EXPECT_EQ(pkda->layers[0].mixer.beta_heads, 2);
  const auto pdn = parse("precond_delta_net", heads);
  ASSERT_TRUE(pdn.ok()) << pdn.status();
  EXPECT_EQ(pdn->layers[0].mixer.decay_heads, 0);
  EXPECT_EQ(pdn->layers[0].mixer.decay_gate, DecayGate::kNone);
  const auto gdn2 = parse("gdn2", R"("num_heads": 2, "num_v_heads": 4)");
  ASSERT_TRUE(gdn2.ok()) << gdn2.status();
  EXPECT_EQ(gdn2->layers[0].mixer.decay_heads, 2);
  EXPECT_EQ(gdn2->layers[0].mixer.beta_heads, 2);
}

TEST(FamilyConfig, GatedLinearAttention) {
  const auto plain = parse("gla", R"("clamp_min": null, "feature_map": null)");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->layers[0].mixer.qk_activation, Activation::kNone);
  EXPECT_EQ(plain->layers[0].mixer.decay_bound, -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(plain->layers[0].tensors.fused_gate_norm);
  const auto config =
      parse("gla", R"("num_heads": 8, "num_kv_heads": 2, "use_short_conv": true, "clamp_min": -0.5,
      "feature_map": "swish", "elementwise_affine": false, "hidden_act": "silu", "use_gk": true)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.heads, 8);
  EXPECT_EQ(config->layers[0].mixer.decay_heads, 2);
  EXPECT_EQ(config->layers[0].mixer.qk_activation, Activation::kSilu);
  EXPECT_EQ(config->layers[0].mixer.feature_map, Activation::kSilu);
  EXPECT_FLOAT_EQ(config->layers[0].mixer.decay_bound, -0.5f);
  EXPECT_FALSE(config->layers[0].tensors.norm_weight);
  EXPECT_FALSE(config->layers[0].tensors.fused_gate_norm);
  EXPECT_TRUE(config->warnings.empty());
}

// int(hidden_size * expand_k), as Python has it: 100 * 0.58 is 57.999...
TEST(FamilyConfig, ExpansionsAreCutOff) {
  const auto config = parse("gla", R"("hidden_size": 100, "num_heads": 3, "expand_k": 0.58,
      "expand_v": 0.99)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.key_dim, 19);
  EXPECT_EQ(config->layers[0].mixer.value_dim, 33);
}

TEST(FamilyConfig, DeltaNet) {
  const auto config = parse("delta_net", R"("use_beta": false, "qk_activation": "elu",
      "qk_norm": "sum", "expand_k": 0.5, "use_gate": true, "use_output_norm": true)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->layers[0].tensors.beta);
  EXPECT_EQ(config->layers[0].mixer.beta_heads, 16);
  EXPECT_EQ(config->layers[0].mixer.qk_activation, Activation::kNone);
  EXPECT_EQ(config->layers[0].mixer.v_activation, Activation::kSilu);
  EXPECT_EQ(config->layers[0].mixer.feature_map, Activation::kEluPlusOne);
  EXPECT_EQ(config->layers[0].mixer.k_norm, FeatureNorm::kSum);
  EXPECT_EQ(config->layers[0].mixer.key_dim, 64);
  EXPECT_TRUE(config->layers[0].tensors.output_gate);
  EXPECT_TRUE(config->warnings.empty());
}

TEST(FamilyConfig, LinearAttention) {
  const auto plain = parse("linear_attn");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(plain->layers[0].mixer.product_features);
  const auto config = parse("linear_attn", R"("feature_map": "elu", "norm_q": true,
      "norm_feature_map": true, "num_kv_heads": 1, "tie_feature_map_qk": true)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->layers[0].mixer.product_features);
  EXPECT_EQ(config->layers[0].mixer.q_norm, FeatureNorm::kSumPlusEps);
  EXPECT_EQ(config->layers[0].mixer.k_norm, FeatureNorm::kNone);
  EXPECT_TRUE(config->layers[0].mixer.normalised);
  EXPECT_EQ(config->layers[0].mixer.k_heads, 1);
  EXPECT_TRUE(config->layers[0].tensors.tied_feature_maps);
}

TEST(FamilyConfig, Mamba2) {
  const auto config = parse("mamba2", R"("n_groups": 4, "rmsnorm": false, "use_bias": true,
      "use_conv_bias": false, "D_has_hdim": true, "dt_limit": [0.5, Infinity], "num_heads": 64,
      "chunk_size": 256, "residual_in_fp32": true, "A_init_range": [1, 16])");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.k_heads, 4);
  EXPECT_EQ(config->layers[0].mixer.output_norm, OutputNorm::kGateOnly);
  EXPECT_EQ(config->layers[0].mixer.time_step_min, 0.5f);
  EXPECT_EQ(config->layers[0].mixer.time_step_max, std::numeric_limits<float>::infinity());
  EXPECT_TRUE(config->layers[0].tensors.bias);
  EXPECT_FALSE(config->layers[0].tensors.conv_bias);
  EXPECT_TRUE(config->layers[0].tensors.skip_per_channel);
  EXPECT_TRUE(config->warnings.empty());
  for (const char* limit : {"[0.1, null]", "[0.1, \"inf\"]", "[0.1, Infinity]"}) {
    const auto unbounded = parse("mamba2", R"("time_step_limit": )" + std::string(limit));
    ASSERT_TRUE(unbounded.ok()) << unbounded.status();
    EXPECT_EQ(unbounded->layers[0].mixer.time_step_max, std::numeric_limits<float>::infinity());
    EXPECT_FLOAT_EQ(unbounded->layers[0].mixer.time_step_min, 0.1f);
  }
  EXPECT_EQ(
      parse("mamba2", R"("rmsnorm": true, "norm_before_gate": true)")->layers[0].mixer.output_norm,
      OutputNorm::kGroupsThenGate);
}

// Only flash-linear-attention, which has the key rmsnorm, obeys norm_before_gate (case M15).
TEST(FamilyConfig, Mamba2OfTransformersGatesFirst) {
  const auto config = parse("mamba2", R"("norm_before_gate": true, "rms_norm": true,
      "layer_norm_epsilon": 2e-5, "time_step_limit": [0.0, Infinity], "intermediate_size": 8192,
      "time_step_init_scheme": "random", "time_step_scale": 1.0, "time_step_rank": 256)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.output_norm, OutputNorm::kGateThenGroups);
  EXPECT_FLOAT_EQ(config->norm_eps, 2e-5f);
  ASSERT_EQ(config->warnings.size(), 1u);
  EXPECT_NE(config->warnings[0].find("norm_before_gate"), std::string::npos);
  // Its defaults are transformers' own.
  EXPECT_EQ(config->hidden_size, 4096);
  EXPECT_EQ(config->num_layers(), 64);
  EXPECT_EQ(config->vocab_size, 32768);
  EXPECT_EQ(config->layers[0].mixer.k_heads, 8);
  EXPECT_EQ(config->bos_token_id, 0);
}

// The author's own layout (mamba_ssm) and Mistral's.
TEST(FamilyConfig, Mamba2OfItsAuthors) {
  const auto config = parse_model_config(
      R"({"d_model": 256, "d_intermediate": 0, "n_layer": 3, "vocab_size": 1001,
          "ssm_cfg": {"layer": "Mamba2", "d_state": 32, "headdim": 32, "ngroups": 2},
          "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": true, "residual_in_fp32": true,
          "fused_add_norm": true, "pad_vocab_size_multiple": 16, "tie_embeddings": true})",
      "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model_type, "mamba2");
  EXPECT_EQ(config->vocab_size, 1008);
  EXPECT_EQ(config->num_layers(), 3);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FLOAT_EQ(config->norm_eps, 1e-5f);
  const MixerShape& mixer = config->layers[0].mixer;
  EXPECT_EQ(mixer.heads, 16);
  EXPECT_EQ(mixer.key_dim, 32);
  EXPECT_EQ(mixer.k_heads, 2);
  EXPECT_EQ(mixer.output_norm, OutputNorm::kGateThenGroups);
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_TRUE(config->warnings.empty());

  const auto mistral = parse_model_config(
      R"({"dim": 128, "n_layers": 2, "vocab_size": 100, "n_groups": 4, "rms_norm": true,
          "residual_in_fp32": true, "fused_add_norm": true, "pad_vocab_size_multiple": 1,
          "tie_embeddings": false, "model_type": "mamba"})",
      "params.json");
  ASSERT_TRUE(mistral.ok()) << mistral.status();
  EXPECT_EQ(mistral->layers[0].mixer.k_heads, 4);
  EXPECT_EQ(mistral->vocab_size, 100);
  EXPECT_FALSE(mistral->tie_word_embeddings);
}

TEST(FamilyConfig, Mamba2OfItsAuthorsThatIsRefused) {
  const std::pair<const char*, const char*> refusals[] = {
      {R"("ssm_cfg": {})", "ssm_cfg: layer"},
      {R"("ssm_cfg": {"layer": "Mamba1"})", "ssm_cfg: layer"},
      {R"("ssm_cfg": {"layer": "Mamba2", "d_ssm": 8})", "d_ssm"},
      {R"("ssm_cfg": {"layer": "Mamba2", "mystery": 8})", "mystery"},
      {R"("ssm_cfg": {"layer": "Mamba2"}, "d_intermediate": 8)", "d_intermediate"},
      {R"("ssm_cfg": {"layer": "Mamba2"}, "attn_layer_idx": [1])", "attn_layer_idx"},
      {R"("ssm_cfg": {"layer": "Mamba2"}, "rms_norm": false)", "rms_norm"},
      {R"("ssm_cfg": {"layer": "Mamba2"}, "mystery": 8)", "--ignore-config-key mystery"}};
  for (const auto& [members, key] : refusals) {
    const auto config = parse_model_config(
        std::string(R"({"d_model": 256, "n_layer": 3, )") + members + "}", "config.json");
    ASSERT_FALSE(config.ok()) << members;
    EXPECT_NE(std::string(config.status().message()).find(key), std::string::npos)
        << config.status();
  }
}

// These configs stand on the Hub, with keys that today's code no longer has.
TEST(FamilyConfig, ConfigsOfOlderRevisions) {
  const auto gla = parse("gla", R"("architectures": ["GLAForCausalLM"], "attn": null,
      "clamp_min": null, "conv_size": 4, "fuse_cross_entropy": true, "fuse_norm": true,
      "share_conv_kernel": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.2",
      "use_gk": true, "use_gv": false, "use_short_conv": false, "expand_v": 1)");
  ASSERT_TRUE(gla.ok()) << gla.status();
  ASSERT_EQ(gla->warnings.size(), 1u);
  EXPECT_NE(gla->warnings[0].find("share_conv_kernel"), std::string::npos);
  const auto delta = parse("delta_net", R"("chunk_size": 64, "norm_first": false, "use_elu": false,
      "use_rope": false, "share_conv_kernel": false, "use_output_norm": true)");
  ASSERT_TRUE(delta.ok()) << delta.status();
  const auto gated = parse("gated_deltanet", R"("use_mamba_gate": true, "use_residual": false)");
  ASSERT_TRUE(gated.ok()) << gated.status();
}

TEST(FamilyConfig, OutputGateOfGatedDeltaNet) {
  const auto gate = [](const char* members) {
    return parse("gated_deltanet", members)->layers[0].mixer.gate_activation;
  };
  EXPECT_EQ(gate(""), Activation::kSilu);
  EXPECT_EQ(gate(R"("output_gate_activation": "swish")"), Activation::kSilu);
  EXPECT_EQ(gate(R"("output_gate_activation": "sigmoid")"), Activation::kSigmoid);
}

TEST(FamilyConfig, InfinityInsideAStringIsText) {
  const auto config = parse("mamba2", R"("x\"Infinity": "Infinity")");
  ASSERT_FALSE(config.ok());
  const std::string text(config.status().message());
  EXPECT_NE(text.find("Infinity' is not known, and its value \"Infinity\""), std::string::npos)
      << text;
}

TEST(Conditioning, DefaultsAndSwitches) {
  for (const char* type : {"gla", "delta_net", "gated_deltanet", "precond_gated_deltanet", "kda"}) {
    const auto config = parse(type, R"("ccq": {})");
    ASSERT_TRUE(config.ok()) << config.status();
    const QueryConditioning& ccq = config->layers[0].mixer.conditioning;
    EXPECT_TRUE(ccq.on);
    EXPECT_EQ(ccq.normaliser, QueryConditioning::Normaliser::kMean);
    EXPECT_FALSE(ccq.centered);
    EXPECT_TRUE(ccq.backbone_decay);
    EXPECT_EQ(ccq.l2_keys, std::string(type) == "gla") << type;
    EXPECT_FALSE(ccq.renormalise);
    EXPECT_FALSE(config->layers[0].tensors.conditioning_gate_said);
    EXPECT_FALSE(parse(type, R"("ccq": null)")->layers[0].mixer.conditioning.on);
  }
  const auto config = parse("qdelta", R"("lamb_bias": 0.9, "qdelta_semantics": "canonical",
      "ccq": {"norm": "mean", "center": true, "decay": "none", "key_l2": true, "renorm_q": true,
      "gate": "full"})");
  ASSERT_TRUE(config.ok()) << config.status();
  const QueryConditioning& ccq = config->layers[0].mixer.conditioning;
  EXPECT_TRUE(ccq.centered && ccq.l2_keys && ccq.renormalise && !ccq.backbone_decay);
  EXPECT_EQ(ccq.gate_input, QueryConditioning::GateInput::kFull);
  EXPECT_TRUE(config->layers[0].tensors.conditioning_gate_said);
}

// A config that must be refused; the message must name the key and show what is wrong with it.
struct Refusal {
  const char* type;
  const char* members;
  const char* key;
  const char* value;
};

constexpr Refusal kRefusals[] = {
    {"gated_deltanet", R"("attn": {"layers": [1]})", "attn", "an object"},
    {"kda", R"("attn": {"layers": [1]})", "attn", "an object"},
    {"gla", R"("attnres_block_size": 4)", "attnres_block_size", "4"},
    {"linear_attn", R"("quantization_config": {})", "quantization_config", "{}"},
    {"gla", R"("hidden_act": "powlu")", "hidden_act", "powlu"},
    {"mamba2", R"("hidden_act": "gelu")", "hidden_act", "gelu"},

    {"kda", R"("num_v_heads": 24)", "num_v_heads", "multiple of num_heads 16"},
    {"kda", R"("expand_v": 0.3)", "expand_v", "not an integer"},
    {"kda", R"("num_v_heads": 4096, "head_dim": 512, "expand_v": 0.25)", "num_v_heads", "512"},
    {"kda", R"("safe_gate": true)", "safe_gate", "lower_bound"},
    {"kda", R"("safe_gate": true, "lower_bound": -6)", "safe_gate", "lower_bound"},
    {"kda", R"("lower_bound": 0)", "lower_bound", "0"},
    {"kda", R"("lower_bound": 1)", "lower_bound", "1"},
    {"precond_kda", R"("lower_bound": "low")", "lower_bound", "low"},
    {"precond_kda", R"("squash_x": 0.5)", "squash_x", "5E-1"},
    {"precond_delta_net", R"("squash_eps": 0)", "squash_eps", "0"},
    {"precond_gated_deltanet", R"("squash_x": null)", "squash_x", "null"},

    {"gla", R"("feature_map": "hedgehog")", "feature_map", "hedgehog"},
    {"gla", R"("feature_map": "elu")", "feature_map", "'elu'"},
    {"gla", R"("num_kv_heads": 3)", "num_kv_heads", "divide num_heads 4"},
    {"gla", R"("expand_k": 0.333)", "expand_k", "not a multiple of num_heads 4"},
    {"gla", R"("expand_v": 64)", "expand_v", "32768"},
    {"gla", R"("hidden_size": 65536, "num_heads": 4096, "expand_v": 64)", "expand_v", "columns"},
    {"gla", R"("hidden_size": 65536, "num_heads": 4096, "expand_k": 64)", "expand_k", "columns"},
    {"gla", R"("clamp_min": 0.5)", "clamp_min", "5E-1"},
    {"gla", R"("elementwise_affine": 0)", "elementwise_affine", "0"},
    {"linear_attn", R"("feature_map": "hedgehog")", "feature_map", "hedgehog"},
    {"linear_attn", R"("feature_map": "t2r")", "feature_map", "t2r"},
    {"linear_attn", R"("feature_map": "dpfp")", "feature_map", "dpfp"},
    {"linear_attn", R"("feature_map": null)", "feature_map", "null"},
    {"linear_attn", R"("num_kv_heads": 8)", "num_kv_heads", "8"},
    {"linear_attn", R"("num_heads": 1)", "expand_k", "2048"},
    {"delta_net", R"("qk_norm": "none")", "qk_norm", "none"},
    {"delta_net", R"("qk_activation": "gelu")", "qk_activation", "gelu"},
    {"delta_net", R"("num_heads": 3)", "expand_k", "not a multiple of num_heads 3"},
    {"delta_net", R"("use_beta": null)", "use_beta", "null"},

    {"mamba2", R"("head_dim": 96)", "expand", "not a multiple of head_dim 96"},
    {"mamba2", R"("expand": 0.01, "head_dim": 64)", "expand", "20"},
    {"mamba2", R"("hidden_size": 65536, "head_dim": 8)", "expand", "16384 heads"},
    {"mamba2", R"("hidden_size": 65536, "expand": 64, "head_dim": 4096)", "expand", "1048576"},
    {"mamba2", R"("n_groups": 3)", "n_groups", "divide the 64 heads"},
    {"mamba2", R"("n_groups": 4096, "state_size": 1024)", "n_groups", "4096"},
    {"mamba2", R"("num_heads": 32)", "num_heads", "32"},
    {"mamba2", R"("conv_kernel": 16)", "conv_kernel", "16"},
    {"mamba2", R"("state_size": 2048)", "state_size", "2048"},
    {"mamba2", R"("dt_limit": [0])", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("dt_limit": 0)", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("dt_limit": [2, 1])", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("dt_limit": [-1, 1])", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("dt_limit": [0, "far"])", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("time_step_limit": [null, 1])", "time_step_limit", "[lower, upper]"},
    {"mamba2", R"("dt_limit": [-Infinity, 1])", "dt_limit", "[lower, upper]"},
    {"mamba2", R"("hidden_size": Infinity)", "hidden_size", "Infinity"},
    {"mamba2", R"("intermediate_size": 4096)", "intermediate_size", "4096"},
    {"mamba2", R"("layer_norm_epsilon": 1e-5, "intermediate_size": 4096)", "intermediate_size",
     "expand * hidden_size is 8192"},
    {"gated_deltanet", R"("output_gate_activation": "tanh")", "output_gate_activation", "tanh"},

    {"qdelta", R"("ccq": {"norm": "mean"})", "ccq", "canonical"},
    {"mamba2", R"("ccq": {})", "ccq", "'mamba2'"},
    {"linear_attn", R"("ccq": {})", "ccq", "'linear_attn'"},
    {"gdn2", R"("ccq": {})", "ccq", "'gdn2'"},
    {"precond_kda", R"("ccq": {})", "ccq", "'precond_kda'"},
    {"precond_delta_net", R"("ccq": {})", "ccq", "'precond_delta_net'"},
    {"gla", R"("ccq": true)", "ccq", "an object or null"},
    {"gla", R"("ccq": {"norm": "max"})", "ccq: norm", "max"},
    {"gla", R"("ccq": {"center": 1})", "ccq: center", "1"},
    {"gla", R"("ccq": {"center": true, "norm": "ema"})", "ccq: center", "mean"},
    {"gla", R"("ccq": {"decay": "slow"})", "ccq: decay", "slow"},
    {"gla", R"("ccq": {"key_l2": "yes"})", "ccq: key_l2", "yes"},
    {"gla", R"("ccq": {"renorm_q": null})", "ccq: renorm_q", "null"},
    {"gla", R"("ccq": {"gate": "own"})", "ccq: gate", "own"},
    {"gla", R"("ccq": {"gain": 2})", "ccq: 'gain'", "not a known key"},
};

TEST(FamilyConfig, RefusalsNameKeyAndValue) {
  for (const Refusal& refusal : kRefusals) {
    const auto config = parse(refusal.type, refusal.members);
    ASSERT_FALSE(config.ok()) << refusal.type << " " << refusal.members;
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string text = config.status().ToString();
    EXPECT_NE(text.find("config.json"), std::string::npos) << text;
    EXPECT_NE(text.find(refusal.key), std::string::npos) << text;
    EXPECT_NE(text.find(refusal.value), std::string::npos) << text;
  }
}

TEST(FamilyConfig, KeysOfOtherTypesAreUnknown) {
  for (const auto& [type, key] : {std::pair{"gla", "lower_bound"},
                                  {"kda", "expand_k"},
                                  {"delta_net", "num_kv_heads"},
                                  {"linear_attn", "use_short_conv"},
                                  {"mamba2", "hidden_ratio"},
                                  {"gated_deltanet", "squash_x"}}) {
    const auto config = parse(type, "\"" + std::string(key) + "\": null");
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_EQ(config->warnings.size(), 1u) << type << " " << key;
    EXPECT_NE(config->warnings[0].find(key), std::string::npos);
  }
}

TEST(FamilyConfig, StateLayoutOfATinyModel) {
  ModelConfig config = *parse_model_config(tiny_config("qdelta"), "config.json");
  const StateLayout layout = state_layout(config);
  ASSERT_EQ(layout.layers.size(), 2u);
  EXPECT_EQ(layout.layers[0].state.floats, 4 * 12 * 16);
  EXPECT_EQ(layout.layers[0].conv_rows.offset, 4 * 12 * 16);
  EXPECT_EQ(layout.layers[0].conv_rows.floats, (2 * 16 + 48) * 4);
  EXPECT_EQ(layout.layers[0].covariance.floats, 0);
  EXPECT_EQ(layout.floats, 2 * (4 * 12 * 16 + 80 * 4));
  config.layers[1].mixer.conv_width = 0;
  EXPECT_EQ(state_layout(config).layers[1].conv_rows.floats, 0);
}

}  // namespace
}  // namespace deltaserve
