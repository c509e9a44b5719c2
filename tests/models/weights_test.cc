#include "models/weights.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "models/inspect.h"
#include "temp_folder.h"

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

// Writes `tensors` and binds them; the views of the result are not to be followed.
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
  EXPECT_EQ(layer.conv_v.rows, 48);
  EXPECT_EQ(layer.conv_v.columns, 4);
  EXPECT_EQ(layer.a_log.rows, 1);
  EXPECT_EQ(layer.a_log.columns, 4);
  EXPECT_EQ(layer.o_proj.rows, 32);
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
  EXPECT_EQ(weights->layers[0].conv_q.data, nullptr);
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

TEST(BindWeights, BundledModel) {
  const std::string folder = DELTASERVE_BUNDLED_MODEL;
  const auto text = describe_model(folder);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_NE(text->find("qdelta (canonical)"), std::string::npos) << *text;
  EXPECT_NE(text->find("4,696,740"), std::string::npos) << *text;
  EXPECT_NE(text->find("373,248"), std::string::npos) << *text;
  EXPECT_EQ(text->find(" \n"), std::string::npos) << *text;
}

}  // namespace
}  // namespace deltaserve
