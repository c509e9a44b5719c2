#include "models/random_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "models/checkpoint/safetensors.h"
#include "models/inspect.h"
#include "models/mapping/config.h"
#include "models/mapping/weights.h"
#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

uint64_t fnv1a(const std::string& bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string written(const std::string& config, uint64_t seed, Dtype dtype) {
  TempFolder temp;
  temp.write("c.json", config);
  const absl::Status status =
      write_random_model(temp.file("c.json"), seed, dtype, temp.file("out/deep"));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(temp.read("out/deep/config.json"), config);
  return temp.read("out/deep/model.safetensors");
}

TEST(RandomModel, SameSeedSameBytes) {
  const std::string config = tiny_config("qdelta");
  const std::string bytes = written(config, 7, Dtype::kBf16);
  EXPECT_EQ(bytes, written(config, 7, Dtype::kBf16));
  EXPECT_NE(bytes, written(config, 8, Dtype::kBf16));
  // The hash is the same on any machine; a change breaks recorded benchmarks and tests.
  EXPECT_EQ(fnv1a(bytes), 17456268481309187621u);
}

TEST(RandomModel, LoadsAndBinds) {
  for (const char* type :
       {"qdelta", "gated_deltanet", "precond_gated_deltanet", "precond_delta_net", "kda",
        "precond_kda", "gdn2", "delta_net", "gla", "linear_attn", "mamba2"}) {
    SCOPED_TRACE(type);
    TempFolder temp;
    temp.write("c.json", tiny_config(type));
    ASSERT_TRUE(write_random_model(temp.file("c.json"), 1, Dtype::kF32, temp.file("m")).ok());
    const auto text = describe_model(temp.file("m"));
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_NE(text->find("none: token-id prompts only"), std::string::npos) << *text;
  }
}

struct Moments {
  double mean = 0, deviation = 0, min = 1e30, max = -1e30;
};

Moments moments_of(const Tensor& tensor) {
  Moments m;
  const auto n = static_cast<size_t>(tensor.info.num_elements());
  double squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double value = load_as_f32(tensor.data, tensor.info.dtype, i);
    m.mean += value / static_cast<double>(n);
    squares += value * value / static_cast<double>(n);
    m.min = std::min(m.min, value);
    m.max = std::max(m.max, value);
  }
  m.deviation = std::sqrt(squares - m.mean * m.mean);
  return m;
}

TEST(RandomModel, Distributions) {
  TempFolder temp;
  temp.write("c.json", R"({"model_type": "gated_deltanet", "hidden_size": 256, "vocab_size": 2000,
      "num_hidden_layers": 1, "num_heads": 256, "head_dim": 2, "expand_v": 1})");
  ASSERT_TRUE(write_random_model(temp.file("c.json"), 3, Dtype::kBf16, temp.path()).ok());
  const auto checkpoint = Checkpoint::open(temp.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto at = [&](const std::string& name) {
    return moments_of(checkpoint->tensors().at(name));
  };
  const Moments embeddings = at("model.embeddings.weight");
  EXPECT_NEAR(embeddings.mean, 0, 0.01);
  EXPECT_NEAR(embeddings.deviation, 1, 0.01);
  EXPECT_NEAR(at("model.layers.0.attn.q_proj.weight").deviation, 1.0 / 16, 1e-3);
  EXPECT_NEAR(at("model.layers.0.attn.q_conv1d.weight").deviation, 0.5, 0.03);
  EXPECT_NEAR(at("model.norm.weight").mean, 1, 0.03);
  EXPECT_NEAR(at("model.norm.weight").deviation, 0.1, 0.02);
  const Moments dt = at("model.layers.0.attn.dt_bias");
  EXPECT_GE(dt.min, -5);
  EXPECT_LE(dt.max, -1);
  EXPECT_NEAR(dt.mean, -3, 0.3);
  const Moments a = at("model.layers.0.attn.A_log");
  EXPECT_GE(a.min, std::log(0.5) - 1e-6);
  EXPECT_LE(a.max, std::log(8));
  EXPECT_EQ(checkpoint->tensors().at("model.layers.0.attn.A_log").info.dtype, Dtype::kF32);
  EXPECT_EQ(checkpoint->tensors().at("model.layers.0.attn.q_proj.weight").info.dtype, Dtype::kBf16);
}

TEST(RandomModel, DistributionsOfOtherFamilies) {
  TempFolder temp;
  temp.write("c.json", R"({"model_type": "precond_gated_deltanet", "hidden_size": 64,
      "vocab_size": 100, "num_hidden_layers": 1, "num_heads": 256, "head_dim": 2, "expand_v": 1})");
  ASSERT_TRUE(write_random_model(temp.file("c.json"), 3, Dtype::kBf16, temp.file("a")).ok());
  const auto pgdn = Checkpoint::open(temp.file("a"));
  ASSERT_TRUE(pgdn.ok()) << pgdn.status();
  const Tensor& scale = pgdn->tensors().at("model.layers.0.attn.log_atk_scale");
  EXPECT_NEAR(moments_of(scale).mean, -0.2, 0.05);
  EXPECT_NEAR(moments_of(scale).deviation, 0.2, 0.05);
  EXPECT_EQ(scale.info.dtype, Dtype::kF32);
  EXPECT_LE(moments_of(pgdn->tensors().at("model.layers.0.attn.dt_bias_atk")).max, -1);
  EXPECT_GE(moments_of(pgdn->tensors().at("model.layers.0.attn.A_log_atk")).min, -0.7);
  temp.write("c.json", R"({"model_type": "mamba2", "hidden_size": 256, "head_dim": 2,
      "vocab_size": 100, "num_hidden_layers": 1})");
  ASSERT_TRUE(write_random_model(temp.file("c.json"), 3, Dtype::kBf16, temp.file("b")).ok());
  const auto mamba = Checkpoint::open(temp.file("b"));
  ASSERT_TRUE(mamba.ok()) << mamba.status();
  EXPECT_NEAR(moments_of(mamba->tensors().at("backbone.layers.0.mixer.D")).mean, 1, 0.03);
  const Moments bias = moments_of(mamba->tensors().at("backbone.layers.0.mixer.conv1d.bias"));
  EXPECT_NEAR(bias.deviation, 0.1, 0.01);
}

// The expected parameters of each preset, in millions.
TEST(RandomModel, PresetsAreAsLargeAsTheirNames) {
  const std::pair<const char*, int> sizes[] = {
      {"qdelta-340m", 380},    {"qdelta-1b", 1387},  {"gdn-303m", 303}, {"gdn-340m", 341},
      {"gdn-1b", 995},         {"pgdn-340m", 342},   {"pgdn-1b", 996},  {"kda-340m", 354},
      {"kda-1b", 995},         {"pkda-340m", 354},   {"pkda-1b", 996},  {"gla-340m", 342},
      {"delta-net-340m", 341}, {"mamba2-370m", 369},
  };
  std::string names;
  for (const auto& [name, millions] : sizes) {
    names += std::string(names.empty() ? "" : ", ") + name;
    const auto text = random_model_config(name);
    ASSERT_TRUE(text.ok()) << text.status();
    const auto config = parse_model_config(*text, name);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->warnings.empty());
    double total = 0;
    for (const TensorSpec& spec : tensor_specs(*config)) {
      double elements = 1;
      for (const int64_t size : spec.shape) elements *= static_cast<double>(size);
      total += elements;
    }
    EXPECT_NEAR(total / 1e6, millions, 1) << name;
  }
  EXPECT_EQ(random_model_presets(), names);
}

TEST(RandomModel, Errors) {
  TempFolder temp;
  const auto write = [&](const std::string& what, Dtype dtype, const std::string& out) {
    return write_random_model(what, 1, dtype, out).ToString();
  };
  EXPECT_NE(write("qdelta-9000b", Dtype::kBf16, temp.path()).find("qdelta-340m, qdelta-1b"),
            std::string::npos);
  EXPECT_NE(write("gdn-335m", Dtype::kBf16, temp.path()).find("qdelta-1b, gdn-303m, gdn-340m"),
            std::string::npos);
  temp.write("c.json", R"({"model_type": "x"})");
  EXPECT_NE(write(temp.file("c.json"), Dtype::kBf16, temp.path()).find("model_type"),
            std::string::npos);
  temp.write("c.json", tiny_config("qdelta"));
  EXPECT_NE(write(temp.file("c.json"), Dtype::kF16, temp.path()).find("f16"), std::string::npos);
  temp.write("file", "");
  EXPECT_NE(write(temp.file("c.json"), Dtype::kF32, temp.file("file/out")).find("cannot make"),
            std::string::npos);
}

TEST(Inspect, BundledModel) {
  const std::string folder = DELTASERVE_BUNDLED_MODEL;
  const auto text = describe_model(folder);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_NE(text->find("Q-Delta (canonical)"), std::string::npos) << *text;
  EXPECT_NE(text->find("4,696,740"), std::string::npos) << *text;
  EXPECT_NE(text->find("387,072"), std::string::npos) << *text;
  EXPECT_EQ(text->find(" \n"), std::string::npos) << *text;
}

}  // namespace
}  // namespace deltaserve
