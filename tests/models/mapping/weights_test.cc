#include "models/mapping/weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

ModelConfig config_of(const std::string& type, const std::string& more = "") {
  return *parse_model_config(tiny_config(type, more), "config.json");
}

std::vector<TensorToWrite> tensors_of(const ModelConfig& config) {
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : tensor_specs(config)) {
    tensors.push_back({spec.name, Dtype::kBf16, spec.shape});
  }
  return tensors;
}

// Writes `tensors` and binds them; the views of the result must not be used.
absl::StatusOr<Weights> bind_tensors(const ModelConfig& config,
                                     const std::vector<TensorToWrite>& tensors) {
  TempFolder temp;
  const absl::Status status = write_safetensors(
      temp.file("model.safetensors"), tensors,
      [](size_t, uint64_t, uint64_t size, char* out) { std::fill(out, out + size, 0); });
  if (!status.ok()) return status;
  const auto checkpoint = Checkpoint::open(temp.path());
  if (!checkpoint.ok()) return checkpoint.status();
  return bind_weights(config, *checkpoint);
}

TensorToWrite& find(std::vector<TensorToWrite>& tensors, const std::string& name) {
  for (TensorToWrite& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

TEST(BindWeights, QDeltaLayout) {
  const ModelConfig config = config_of("qdelta");
  const auto weights = bind_tensors(config, tensors_of(config));
  ASSERT_TRUE(weights.ok()) << weights.status();
  ASSERT_EQ(weights->layers.size(), 2u);
  const LayerWeights& layer = weights->layers[1];
  const ProjectionLayout& columns = layer.projection;
  EXPECT_EQ(columns.q, 0);
  EXPECT_EQ(columns.k, 16);
  EXPECT_EQ(columns.v, 32);
  EXPECT_EQ(columns.gate, 80);
  EXPECT_EQ(columns.decay, 128);
  EXPECT_EQ(columns.beta, 132);
  EXPECT_EQ(columns.lambda, 136);
  EXPECT_EQ(columns.columns, 140);
  ASSERT_EQ(layer.in_proj.size(), 7u);
  EXPECT_EQ(layer.in_proj[2].rows, 48);
  EXPECT_EQ(layer.in_proj[2].columns, 32);
  ASSERT_EQ(layer.vectors.conv.size(), 3u);
  EXPECT_EQ(layer.vectors.conv[2].rows, 48);
  EXPECT_EQ(layer.vectors.conv[2].columns, 4);
  EXPECT_EQ(layer.vectors.a_log[0].rows, 1);
  EXPECT_EQ(layer.vectors.a_log[0].columns, 4);
  EXPECT_EQ(layer.out_proj.rows, 32);
  EXPECT_EQ(layer.mlp_down.columns, 40);
  EXPECT_NE(weights->lm_head.data, weights->embeddings.data);
}

TEST(BindWeights, GatedDeltaNetWithoutGateConvolutionAndHead) {
  const ModelConfig config =
      config_of("gated_deltanet",
                R"(, "use_gate": false, "use_short_conv": false, "tie_word_embeddings": true)");
  const auto weights = bind_tensors(config, tensors_of(config));
  ASSERT_TRUE(weights.ok()) << weights.status();
  const ProjectionLayout& columns = weights->layers[0].projection;
  EXPECT_EQ(columns.gate, -1);
  EXPECT_EQ(columns.lambda, -1);
  EXPECT_EQ(columns.decay, 80);
  EXPECT_EQ(columns.columns, 88);
  EXPECT_TRUE(weights->layers[0].vectors.conv.empty());
  EXPECT_EQ(weights->lm_head.data, weights->embeddings.data);
}

TEST(BindWeights, ToleratesUnusedTensors) {
  const ModelConfig config = config_of("gated_deltanet", R"(, "tie_word_embeddings": true)");
  std::vector<TensorToWrite> tensors = tensors_of(config);
  tensors.push_back({"model.layers.0.attn.D", Dtype::kF32, {4}});
  tensors.push_back({"lm_head.weight", Dtype::kBf16, {50, 32}});
  EXPECT_TRUE(bind_tensors(config, tensors).ok());
  tensors.back().shape = {49, 32};
  EXPECT_FALSE(bind_tensors(config, tensors).ok());
}

TEST(BindWeights, ErrorsNameTheTensorAndItsShapes) {
  struct Case {
    std::function<void(std::vector<TensorToWrite>&)> damage;
    std::vector<std::string> expected;
  };
  const Case cases[] = {
      {[](auto& t) { t.erase(t.begin()); }, {"no tensor 'model.embeddings.weight'", "[50, 32]"}},
      {[](auto& t) { find(t, "model.layers.1.attn.lamb_proj.weight").name = "other"; },
       {"no tensor 'model.layers.1.attn.lamb_proj.weight'", "[4, 32]"}},
      {[](auto& t) {
         find(t, "model.layers.0.attn.q_proj.weight").shape = {32, 16};
       },
       {"'model.layers.0.attn.q_proj.weight'", "[32, 16]", "[16, 32]"}},
      {[](auto& t) {
         find(t, "model.layers.0.attn.q_conv1d.weight").shape = {16, 4};
       },
       {"'model.layers.0.attn.q_conv1d.weight'", "[16, 4]", "[16, 1, 4]"}},
      {[](auto& t) {
         find(t, "model.norm.weight").shape = {1, 32};
       },
       {"'model.norm.weight'", "[1, 32]", "[32]"}},
      {[](auto& t) {
         t.push_back({"model.layers.2.attn.D", Dtype::kF32, {4}});
       },
       {"'model.layers.2.attn.D'", "no use"}},
      {[](auto& t) {
         t.push_back({"model.layers.0.attn.D", Dtype::kF32, {5}});
       },
       {"'model.layers.0.attn.D'", "[5]", "[4]"}},
      {[](auto& t) {
         t.push_back({"model.layers.0.attn.q_proj.bias", Dtype::kF32, {16}});
       },
       {"'model.layers.0.attn.q_proj.bias'", "[16]"}},
  };
  const ModelConfig config = config_of("qdelta");
  for (const Case& c : cases) {
    std::vector<TensorToWrite> tensors = tensors_of(config);
    c.damage(tensors);
    const auto weights = bind_tensors(config, tensors);
    ASSERT_FALSE(weights.ok()) << c.expected[0];
    for (const std::string& part : c.expected) {
      EXPECT_NE(weights.status().ToString().find(part), std::string::npos) << weights.status();
    }
  }
}

// x, B and C of Mamba-2 are in another order than v, k and q.
TEST(BindWeights, Mamba2CutsItsBlocks) {
  const ModelConfig config = config_of("mamba2", R"(, "n_groups": 2, "use_bias": true)");
  TempFolder temp;
  const auto fill = [](size_t, uint64_t first, uint64_t size, char* out) {
    for (uint64_t i = 0; i < size; i += 4) {
      const auto value = static_cast<float>((first + i) / 4);
      memcpy(out + i, &value, 4);
    }
  };
  std::vector<TensorToWrite> tensors = tensors_of(config);
  for (TensorToWrite& tensor : tensors) tensor.dtype = Dtype::kF32;
  ASSERT_TRUE(write_safetensors(temp.file("model.safetensors"), tensors, fill).ok());
  const auto checkpoint = Checkpoint::open(temp.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto weights = bind_weights(config, *checkpoint);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const LayerWeights& layer = weights->layers[1];
  // The rows are z 64, x 64, B 24, C 24, dt 8.
  const int64_t first_rows[] = {152, 128, 64, 0, 176};
  const int64_t counts[] = {24, 24, 64, 64, 8};
  ASSERT_EQ(layer.in_proj.size(), 5u);
  ASSERT_EQ(layer.in_proj_bias.size(), 5u);
  const auto first_value = [](const HostMatrix& m) { return load_as_f32(m.data, m.dtype, 0); };
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(first_value(layer.in_proj[i]), static_cast<float>(first_rows[i] * 32)) << i;
    EXPECT_EQ(layer.in_proj[i].rows, counts[i]);
    EXPECT_EQ(first_value(layer.in_proj_bias[i]), static_cast<float>(first_rows[i])) << i;
    EXPECT_EQ(layer.in_proj_bias[i].columns, counts[i]);
  }
  ASSERT_EQ(layer.vectors.conv.size(), 3u);
  EXPECT_EQ(first_value(layer.vectors.conv[0]), 88 * 4.0f);
  EXPECT_EQ(first_value(layer.vectors.conv[1]), 64 * 4.0f);
  EXPECT_EQ(first_value(layer.vectors.conv[2]), 0.0f);
  EXPECT_EQ(first_value(layer.vectors.conv_bias[0]), 88.0f);
  EXPECT_EQ(layer.projection.gate, 24 + 24 + 64);
  EXPECT_EQ(layer.projection.decay, 24 + 24 + 64 + 64);
  EXPECT_EQ(layer.projection.columns, 184);
  EXPECT_EQ(layer.mlp_norm.data, nullptr);
}

TEST(BindWeights, ExpansionsFollowTheProjections) {
  const ModelConfig config = config_of("kda");
  const auto weights = bind_tensors(config, tensors_of(config));
  ASSERT_TRUE(weights.ok()) << weights.status();
  const LayerWeights& layer = weights->layers[0];
  // The rows are q 16, k 16, v 48, b 4, f_proj.0 12, g_proj.0 12; then f_proj.1 32, g_proj.1 48.
  ASSERT_EQ(layer.expansions.size(), 2u);
  EXPECT_EQ(layer.expansions[0].from_column, 84);
  EXPECT_EQ(layer.expansions[0].to_column, 108);
  EXPECT_EQ(layer.expansions[0].bias.data, nullptr);
  EXPECT_EQ(layer.expansions[1].from_column, 96);
  EXPECT_EQ(layer.expansions[1].to_column, 140);
  EXPECT_EQ(layer.expansions[1].bias.columns, 48);
  EXPECT_EQ(layer.projection.decay, 108);
  EXPECT_EQ(layer.projection.gate, 140);
  EXPECT_EQ(layer.projection.columns, 188);
}

TEST(BindWeights, TiedFeatureMapsCoverQueriesAndKeys) {
  const ModelConfig config =
      config_of("linear_attn", R"(, "num_kv_heads": 1, "tie_feature_map_qk": true)");
  const auto weights = bind_tensors(config, tensors_of(config));
  ASSERT_TRUE(weights.ok()) << weights.status();
  const LayerWeights& layer = weights->layers[0];
  ASSERT_EQ(layer.expansions.size(), 2u);
  EXPECT_EQ(layer.expansions[0].repeat, 3);
  EXPECT_EQ(layer.projection.q_left, 64);
  EXPECT_EQ(layer.projection.k_left, 96);
  EXPECT_EQ(layer.projection.q_right, 112);
  EXPECT_EQ(layer.projection.k_right, 144);
  EXPECT_EQ(layer.projection.columns, 160);
}

TEST(BindWeights, OldSpellingsOfKimiDelta) {
  const ModelConfig config = config_of("kda");
  std::vector<TensorToWrite> tensors = tensors_of(config);
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    find(tensors, std::string(layer) + "attn.A_log").name = std::string(layer) + "attn.A";
    find(tensors, std::string(layer) + "attn.dt_bias").name =
        std::string(layer) + "attn.f_proj.1.bias";
  }
  const auto weights = bind_tensors(config, tensors);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->layers[1].vectors.a_log[0].columns, 4);
  EXPECT_EQ(weights->layers[1].vectors.dt_bias[0].columns, 32);
  // Both spellings at once are an error.
  tensors.push_back({"model.layers.0.attn.A_log", Dtype::kF32, {4}});
  EXPECT_FALSE(bind_tensors(config, tensors).ok());
}

TEST(BindWeights, ABoundedDecayNeedsNoALog) {
  const auto without_a_log = [](const ModelConfig& config) {
    std::vector<TensorToWrite> tensors = tensors_of(config);
    std::erase_if(tensors, [](const TensorToWrite& t) { return t.name.ends_with("A_log"); });
    return bind_tensors(config, tensors);
  };
  EXPECT_TRUE(without_a_log(config_of("kda", R"(, "lower_bound": -5)")).ok());
  EXPECT_FALSE(without_a_log(config_of("kda")).ok());
}

TEST(BindWeights, TheShapeOfTheGateDecides) {
  using Gate = QueryConditioning::GateInput;
  const std::pair<Gate, std::vector<int64_t>> cases[] = {
      {Gate::kShared, {1, 8}}, {Gate::kPerHead, {4, 8}}, {Gate::kFull, {4, 32}}};
  for (const auto& [gate, shape] : cases) {
    const ModelConfig open = config_of("gated_deltanet", R"(, "ccq": {})");
    std::vector<TensorToWrite> tensors = tensors_of(open);
    for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
      const std::string name = std::string(layer) + "attn.ccq_lambda_proj.";
      find(tensors, name + "weight").shape = shape;
      find(tensors, name + "bias").shape = {shape[0]};
    }
    TempFolder temp;
    const auto zero = [](size_t, uint64_t, uint64_t size, char* out) { memset(out, 0, size); };
    ASSERT_TRUE(write_safetensors(temp.file("model.safetensors"), tensors, zero).ok());
    const auto checkpoint = Checkpoint::open(temp.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const ModelConfig settled = settled_config(open, *checkpoint);
    EXPECT_EQ(settled.layers[0].mixer.conditioning.gate_input, gate);
    const auto weights = bind_weights(settled, *checkpoint);
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->layers[1].vectors.conditioning[0].columns, shape[1]);
    // A statement of the config must hold.
    const ModelConfig said =
        settled_config(config_of("gated_deltanet", R"(, "ccq": {"gate": "shared"})"), *checkpoint);
    EXPECT_EQ(bind_weights(said, *checkpoint).ok(), gate == Gate::kShared);
  }
}

}  // namespace
}  // namespace deltaserve
