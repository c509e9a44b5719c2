#include "models/random_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "models/config.h"
#include "models/inspect.h"
#include "models/safetensors.h"
#include "models/weights.h"
#include "temp_folder.h"

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
  // Of this file on any machine: a change breaks recorded benchmarks and tests.
  EXPECT_EQ(fnv1a(bytes), 17456268481309187621u);
}

TEST(RandomModel, LoadsAndBinds) {
  for (const char* type : {"qdelta", "gated_deltanet"}) {
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

TEST(RandomModel, Errors) {
  TempFolder temp;
  const auto write = [&](const std::string& what, Dtype dtype, const std::string& out) {
    return write_random_model(what, 1, dtype, out).ToString();
  };
  EXPECT_NE(write("qdelta-9000b", Dtype::kBf16, temp.path()).find("qdelta-340m, qdelta-1b"),
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

}  // namespace
}  // namespace deltaserve
