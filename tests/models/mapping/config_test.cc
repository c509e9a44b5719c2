#include "models/mapping/config.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>

#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

std::string message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

absl::StatusOr<ModelConfig> parse(const std::string& json) {
  return parse_model_config(json, "config.json");
}

TEST(ModelConfig, FamilyDefaults) {
  const auto config = parse(R"({"model_type": "qdelta", "lamb_bias": 0.8})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.kind, MixerKind::kQDeltaReleased);
  EXPECT_EQ(config->hidden_size, 2048);
  EXPECT_EQ(config->num_layers(), 21);
  EXPECT_EQ(config->vocab_size, 32000);
  EXPECT_EQ(config->layers[0].mixer.k_heads, 6);
  EXPECT_EQ(config->layers[0].mixer.heads, 6);
  EXPECT_EQ(config->layers[0].mixer.key_dim, 256);
  EXPECT_EQ(config->layers[0].mixer.value_dim, 512);
  EXPECT_EQ(config->layers[0].mixer.conv_width, 4);
  EXPECT_EQ(config->layers[0].intermediate_size, 5632);  // 256 * ceil(5461 / 256)
  EXPECT_TRUE(config->layers[0].tensors.output_gate);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_FLOAT_EQ(config->layers[0].mixer.lambda_bias, 0.8f);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_TRUE(config->warnings.empty());
}

TEST(ModelConfig, LayersMayDiffer) {
  const auto config = parse(R"({"model_type": "qdelta", "lamb_bias": 0.9, "hidden_size": 64,
      "num_hidden_layers": 4, "num_heads": 2, "head_dim": 16, "intermediate_size": 96,
      "layers": [{}, {"model_type": "gla", "num_heads": 4, "mlp": false},
                 {"head_dim": 24, "intermediate_size": 40}, {"mixer": false}]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->warnings.empty());
  EXPECT_FALSE(layers_are_alike(*config));
  ASSERT_EQ(config->num_layers(), 4);
  const std::vector<LayerConfig>& layers = config->layers;
  EXPECT_EQ(layers[0].mixer.kind, MixerKind::kQDeltaReleased);
  EXPECT_EQ(layers[0].mixer.key_dim, 16);
  EXPECT_EQ(layers[0].intermediate_size, 96);
  EXPECT_EQ(layers[1].model_type, "gla");
  EXPECT_EQ(layers[1].mixer.kind, MixerKind::kGatedLinearAttention);
  EXPECT_EQ(layers[1].mixer.heads, 4);
  EXPECT_EQ(layers[1].intermediate_size, 0);
  EXPECT_EQ(layers[2].mixer.key_dim, 24);
  EXPECT_EQ(layers[2].intermediate_size, 40);
  EXPECT_TRUE(layers[2].has_mixer);
  EXPECT_FALSE(layers[3].has_mixer);
  const StateLayout layout = state_layout(*config);
  EXPECT_EQ(layout.layers[3].whole().floats, 0);
  EXPECT_GT(layout.layers[2].state.offset, layout.layers[1].state.offset);
  EXPECT_EQ(layout.parts.back().layer, 2);
  EXPECT_EQ(layout.bytes_per_token(), 0);
}

// Each refusal must name the layer and the key.
TEST(ModelConfig, LayersThatCannotBe) {
  const std::tuple<const char*, const char*, const char*> refusals[] = {
      {R"({"a": 1})", "layers", "list of 2"},
      {R"([{}])", "layers", "list of 2"},
      {R"([{}, 5])", "layers[1]", "not an object"},
      {R"([{}, {"head_dim": 0}])", "layers[1]: head_dim", "0"},
      {R"([{"model_type": "bert"}, {}])", "layers[0]: model_type", "bert"},
      {R"([{}, {"hidden_size": 32}])", "layers[1]: 'hidden_size'", "cannot differ"},
      {R"([{}, {"lower_bound": 1}])", "layers[1]: 'lower_bound'", "not a key of this layer"},
      {R"([{}, {"mixer": false, "mlp": false}])", "layers[1]: mixer", "would do nothing"},
  };
  for (const auto& [layers, key, what] : refusals) {
    const auto config = parse(std::string(R"({"model_type": "gated_deltanet", "hidden_size": 64,
        "num_hidden_layers": 2, "num_heads": 2, "head_dim": 16, "layers": )") +
                              layers + "}");
    ASSERT_FALSE(config.ok()) << layers;
    EXPECT_NE(message(config.status()).find(key), std::string::npos) << config.status();
    EXPECT_NE(message(config.status()).find(what), std::string::npos) << config.status();
  }
}

TEST(ModelConfig, ReadsEveryKey) {
  const auto config = parse(R"({"model_type": "gated_deltanet", "hidden_size": 192,
      "num_hidden_layers": 3, "vocab_size": 100, "num_heads": 3, "num_v_heads": 6, "head_dim": 120,
      "expand_v": 1.1, "use_gate": false, "use_short_conv": false, "conv_size": 3,
      "allow_neg_eigval": true, "hidden_ratio": 3, "intermediate_size": null, "hidden_act": "silu",
      "norm_eps": 1e-5, "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": [5, 7],
      "attn": null, "attnres_block_size": null, "attn_mode": "fused_recurrent"})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.kind, MixerKind::kGatedDeltaNet);
  EXPECT_EQ(config->layers[0].mixer.heads, 6);
  EXPECT_EQ(config->layers[0].mixer.value_dim, 132);
  EXPECT_EQ(config->layers[0].mixer.conv_width, 0);
  EXPECT_EQ(config->layers[0].intermediate_size, 512);  // 256 * ceil(384 / 256)
  EXPECT_FALSE(config->layers[0].tensors.output_gate);
  EXPECT_EQ(config->layers[0].mixer.gate_factor, 2);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FLOAT_EQ(config->norm_eps, 1e-5f);
  EXPECT_EQ(config->bos_token_id, -1);
  EXPECT_EQ(config->eos_token_ids, (std::vector<int32_t>{5, 7}));
}

TEST(ModelConfig, CanonicalSemantics) {
  const auto config =
      parse(R"({"model_type": "qdelta", "lamb_bias": 0.9, "qdelta_semantics": "canonical"})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers[0].mixer.kind, MixerKind::kQDelta);
}

TEST(ModelConfig, WarnsOfAbsentLambdaBiasAndUnknownKeys) {
  const auto config =
      parse(R"({"model_type": "qdelta", "use_cache": true, "torch_dtype": "bfloat16",
                "architectures": ["X"], "mystery": false})");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->warnings.size(), 2u);
  EXPECT_NE(config->warnings[0].find("lamb_bias"), std::string::npos);
  EXPECT_NE(config->warnings[1].find("mystery"), std::string::npos);
  EXPECT_FLOAT_EQ(config->layers[0].mixer.lambda_bias, 0.9f);
}

TEST(ModelConfig, ManyUnknownKeysGiveFewWarnings) {
  std::string json = R"({"model_type": "gated_deltanet")";
  for (int i = 0; i < 1000; ++i) json += ", \"x" + std::to_string(i) + "\": 0";
  const auto config = parse(json + "}");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->warnings.size(), 17u);
}

// An unknown key passes if its value turns nothing on or was the default of older code.
TEST(ModelConfig, UnknownKeysThatMeanNothingPass) {
  for (const char* member :
       {R"("x": null)", R"("x": false)", R"("x": 0)", R"("x": 0.0)", R"("x": "")", R"("x": [])",
        R"("x": {})", R"("share_conv_kernel": true)", R"("use_mamba_gate": true)"}) {
    const auto config = parse(std::string(R"({"model_type": "gated_deltanet", )") + member + "}");
    ASSERT_TRUE(config.ok()) << member << config.status();
    EXPECT_EQ(config->warnings.size(), 1u) << member;
  }
}

TEST(ModelConfig, OtherUnknownKeysAreRefusedUnlessTheyAreIgnored) {
  for (const char* member : {R"("lamb_bias": 0.9)", R"("x": true)", R"("x": -1)", R"("x": "no")",
                             R"("x": [0])", R"("x": NaN)", R"("share_conv_kernel": "yes")",
                             R"("rms_norm_eps": 1e-5)", R"("output_gate_activation": "sigmoid")"}) {
    const auto config = parse(std::string(R"({"model_type": "gla", )") + member + "}");
    ASSERT_FALSE(config.ok()) << member;
    const std::string text = message(config.status());
    const std::string key = std::string(member).substr(1, std::string(member).find(':') - 2);
    EXPECT_NE(text.find("'" + key + "'"), std::string::npos) << text;
    EXPECT_NE(text.find("--ignore-config-key " + key), std::string::npos) << text;
    const std::string ignored[] = {key};
    const auto passed = parse_model_config(std::string(R"({"model_type": "gla", )") + member + "}",
                                           "config.json", ignored);
    ASSERT_TRUE(passed.ok()) << passed.status();
    EXPECT_EQ(passed->warnings.size(), 1u);
  }
  const std::string known[] = {"hidden_size"};
  EXPECT_FALSE(parse_model_config(R"({"model_type": "gla"})", "config.json", known).ok());
}

// Python writes numbers that JSON does not have, and Windows a byte order mark.
TEST(ModelConfig, PythonsSpellings) {
  for (const char* limit : {"[0.5, Infinity]", R"([0.5, {"__float__": "Infinity"}])"}) {
    const auto config = parse(std::string("\xef\xbb\xbf") +
                              R"({"model_type": "mamba2", "time_step_limit": )" + limit + "}");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->layers[0].mixer.time_step_min, 0.5f);
    EXPECT_EQ(config->layers[0].mixer.time_step_max, std::numeric_limits<float>::infinity());
  }
  for (const char* value : {"NaN", "-Infinity", R"({"__float__": "NaN"})"}) {
    const auto config = parse(std::string(R"({"model_type": "gla", "norm_eps": )") + value + "}");
    ASSERT_FALSE(config.ok()) << value;
    EXPECT_NE(message(config.status()).find("norm_eps is "), std::string::npos) << config.status();
  }
  EXPECT_TRUE(parse(R"({"model_type": "gla", "_name_or_path": "NaN \\\" Infinity"})").ok());
}

// A config that must be refused; the message must name the key and show the value.
struct Refusal {
  const char* members;
  const char* key;
  const char* value;
};

constexpr Refusal kRefusals[] = {
    {R"("hidden_size": 0)", "hidden_size", "0"},
    {R"("hidden_size": 65537)", "hidden_size", "65537"},
    {R"("hidden_size": -64)", "hidden_size", "-64"},
    {R"("hidden_size": 64.0)", "hidden_size", "6.4E1"},
    {R"("hidden_size": "64")", "hidden_size", "\"64\""},
    {R"("hidden_size": null)", "hidden_size", "null"},
    {R"("hidden_size": true)", "hidden_size", "true"},
    {R"("hidden_size": [64])", "hidden_size", "a list"},
    {R"("hidden_size": 18446744073709551615)", "hidden_size", "18446744073709551615"},
    {R"("hidden_size": 1e400)", "config.json", ""},
    {R"("num_hidden_layers": 1025)", "num_hidden_layers", "1025"},
    {R"("vocab_size": 1048577)", "vocab_size", "1048577"},
    {R"("num_heads": 0)", "num_heads", "0"},
    {R"("num_v_heads": 7)", "num_v_heads", "multiple of num_heads 6"},
    {R"("num_v_heads": 3)", "num_v_heads", "3"},
    {R"("num_v_heads": 0)", "num_v_heads", "0"},
    {R"("head_dim": 1025)", "head_dim", "1025"},
    {R"("head_dim": 1024, "expand_v": 5)", "expand_v", "5120"},
    {R"("head_dim": 15, "expand_v": 1.5)", "expand_v", "1.5"},
    {R"("expand_v": 0)", "expand_v", "0"},
    {R"("expand_v": -2)", "expand_v", "-2"},
    {R"("expand_v": 1e300)", "expand_v", "1E300"},
    {R"("head_dim": 1, "expand_v": 0.001)", "expand_v", "0.001"},
    {R"("num_heads": 4096, "head_dim": 1024)", "num_heads", "1048576 columns"},
    {R"("num_heads": 4096, "head_dim": 64, "expand_v": 8)", "num_v_heads", "512"},
    {R"("conv_size": 9)", "conv_size", "9"},
    {R"("conv_size": 0)", "conv_size", "0"},
    {R"("use_gate": 1)", "use_gate", "1"},
    {R"("use_short_conv": "yes")", "use_short_conv", "yes"},
    {R"("allow_neg_eigval": null)", "allow_neg_eigval", "null"},
    {R"("tie_word_embeddings": 0)", "tie_word_embeddings", "0"},
    {R"("hidden_ratio": 0)", "hidden_ratio", "0"},
    {R"("hidden_size": 65536, "hidden_ratio": 1000)", "hidden_ratio", "1000"},
    {R"("intermediate_size": 1048577)", "intermediate_size", "1048577"},
    {R"("intermediate_size": 0)", "intermediate_size", "0"},
    {R"("hidden_act": "powlu")", "hidden_act", "powlu"},
    {R"("hidden_act": null)", "hidden_act", "null"},
    {R"("norm_eps": 0)", "norm_eps", "0"},
    {R"("norm_eps": "1e-6")", "norm_eps", "1e-6"},
    {R"("lamb_bias": 1e30)", "lamb_bias", "1E30"},
    {R"("lamb_bias": null)", "lamb_bias", "null"},
    {R"("qdelta_semantics": "released_stream")", "qdelta_semantics", "released_stream"},
    {R"("qdelta_semantics": 1)", "qdelta_semantics", "1"},
    {R"("attn_mode": "fused_recurrent")", "attn_mode", "fused_recurrent"},
    {R"("attn": {"layers": [1]})", "attn", "an object"},
    {R"("attn": [])", "attn", "[]"},
    {R"("attnres_block_size": 4)", "attnres_block_size", "4"},
    {R"("ccq": {})", "ccq", "canonical"},
    {R"("quantization_config": {"bits": 4})", "quantization_config", "an object"},
    {R"("bos_token_id": 32000)", "bos_token_id", "32000"},
    {R"("bos_token_id": -1)", "bos_token_id", "-1"},
    {R"("eos_token_id": [2, 32000])", "eos_token_id", "32000"},
    {R"("eos_token_id": "</s>")", "eos_token_id", "</s>"},
    {R"("vocab_size": 10, "vocab_size": 10)", "vocab_size", "twice"},
    {R"("vocab_size": 10, "vocab\u005fsize": 11)", "vocab_size", "twice"},
    {R"("x": {"y": 1, "y": 2})", "y", "twice"},
};

TEST(ModelConfig, RefusalsNameKeyAndValue) {
  for (const Refusal& refusal : kRefusals) {
    const auto config = parse(std::string(R"({"model_type": "qdelta", )") + refusal.members + "}");
    ASSERT_FALSE(config.ok()) << refusal.members;
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string text = message(config.status());
    EXPECT_EQ(text.find("config.json"), 0u) << text;
    EXPECT_NE(text.find(refusal.key), std::string::npos) << text;
    EXPECT_NE(text.find(refusal.value), std::string::npos) << text;
  }
}

TEST(ModelConfig, UnsupportedTypeListsTheSupportedOnes) {
  for (const char* json :
       {R"({"model_type": "llama"})", "{}", R"({"model_type": 3})", R"({"model_type": null})"}) {
    const auto config = parse(json);
    ASSERT_FALSE(config.ok()) << json;
    EXPECT_NE(message(config.status()).find("model_type"), std::string::npos) << json;
  }
  const std::string text = message(parse(R"({"model_type": "llama"})").status());
  for (const char* type :
       {"qdelta", "gated_deltanet", "precond_gated_deltanet", "precond_delta_net", "kda",
        "precond_kda", "gdn2", "delta_net", "gla", "linear_attn", "mamba2"}) {
    EXPECT_NE(text.find(type), std::string::npos) << text;
  }
}

TEST(ModelConfig, MalformedJson) {
  const std::string deep = "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}";
  const std::string texts[] = {"",
                               "   ",
                               "[]",
                               "3",
                               "{",
                               "{\"a\":}",
                               "{} {}",
                               "nul",
                               "{\"a\"",
                               deep,
                               "{\"a\":\"\xff\"}",
                               "\xef\xbb\xbf{}"};
  for (const std::string& text : texts) {
    const auto config = parse(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_EQ(message(config.status()).find("config.json: "), 0u) << config.status();
  }
}

TEST(GenerationConfig, EosTokens) {
  EXPECT_EQ(*parse_generation_eos(R"({"eos_token_id": [2, 5], "temperature": 0.7})"),
            (std::vector<int32_t>{2, 5}));
  EXPECT_TRUE(parse_generation_eos("{}")->empty());
  for (const char* text : {R"({"eos_token_id": -1})", R"({"eos_token_id": "x"})", "[]", ""}) {
    EXPECT_FALSE(parse_generation_eos(text).ok()) << text;
  }
}

}  // namespace
}  // namespace deltaserve
