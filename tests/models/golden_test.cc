// Whole tiny models against logits and states computed in float64 (tests/golden/README.md).
#include <gtest/gtest.h>

#include <cmath>

#include "models/safetensors.h"
#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

constexpr double kTolerance = 1e-5;  // relative

struct Golden {
  const char* folder;
  const char* tag;  // of the semantics in the tensor names
  MixerKind mixer;
  int tokens;
};

class GoldenModel : public testing::TestWithParam<Golden> {
 protected:
  GoldenModel()
      : folder_(std::string(DELTASERVE_GOLDEN) + "/" + GetParam().folder),
        expected_(*Checkpoint::open(folder_ + "/expected")),
        model_(folder_, 2, 2, &GetParam().mixer) {}

  std::vector<float> expected(const std::string& name) const {
    const Golden& g = GetParam();
    const auto it = expected_.tensors().find("T" + std::to_string(g.tokens) + g.tag + "." + name);
    EXPECT_NE(it, expected_.tensors().end()) << name;
    const auto* floats = static_cast<const float*>(it->second.data);
    std::vector<float> values(static_cast<size_t>(it->second.info.num_elements()));
    memcpy(values.data(), floats, values.size() * sizeof(float));
    return values;
  }

  static double error(const std::vector<float>& x, const std::vector<float>& truth) {
    EXPECT_EQ(x.size(), truth.size());
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < truth.size(); ++i) {
      difference += std::pow(static_cast<double>(x[i]) - truth[i], 2);
      norm += std::pow(static_cast<double>(truth[i]), 2);
    }
    return std::sqrt(difference / norm);
  }

  // S of one layer as the golden file has it, [value heads, key dim, value dim].
  std::vector<float> matrix_state(const std::vector<float>& slot, int layer) {
    const ModelConfig& c = model_->config();
    const int64_t stride = padded_to_16(c.key_dim);
    const float* s = slot.data() + model_->layout().layers[static_cast<size_t>(layer)].state_offset;
    std::vector<float> out;
    for (int64_t h = 0; h < c.value_heads; ++h) {
      for (int64_t k = 0; k < c.key_dim; ++k) {
        for (int64_t v = 0; v < c.value_dim; ++v) {
          out.push_back(s[(h * c.value_dim + v) * stride + k]);
        }
      }
    }
    return out;
  }

  // The last three raw inputs of q, k and v, each [channels, 3].
  std::vector<float> conv_state(const std::vector<float>& slot, int layer) {
    const ModelConfig& c = model_->config();
    const int64_t channels = 2 * c.key_columns() + c.value_columns();
    const float* tail =
        slot.data() + model_->layout().layers[static_cast<size_t>(layer)].conv_offset;
    std::vector<float> out;
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t j = 0; j < 3; ++j) out.push_back(tail[j * channels + channel]);
    }
    return out;
  }

  std::vector<float> expected_conv(int layer) const {
    std::vector<float> out;
    for (const char* part : {"conv_q", "conv_k", "conv_v"}) {
      const std::vector<float> all = expected("final." + std::to_string(layer) + "." + part);
      for (size_t i = 0; i < all.size(); ++i) {
        if (i % 4 != 0) out.push_back(all[i]);
      }
    }
    return out;
  }

  std::string folder_;
  Checkpoint expected_;
  LoadedModel model_;
};

TEST_P(GoldenModel, PrefillDecodeAndStates) {
  const int tokens = GetParam().tokens;
  const std::vector<float> raw = expected("ids");
  const std::vector<int32_t> ids(raw.begin(), raw.end());
  EXPECT_LT(error(model_.prefill(0, ids, 0, tokens), expected("prefill_logits")), kTolerance);
  std::vector<float> decoded;
  for (int t = tokens; t < tokens + 5; ++t) {
    const std::vector<float> logits = model_.decode(0, ids[static_cast<size_t>(t)], t);
    decoded.insert(decoded.end(), logits.begin(), logits.end());
  }
  EXPECT_LT(error(decoded, expected("decode_logits")), kTolerance);
  const std::vector<float> slot = model_.state(0);
  for (int layer = 0; layer < model_->config().num_layers; ++layer) {
    const std::string prefix = "final." + std::to_string(layer);
    EXPECT_LT(error(matrix_state(slot, layer), expected(prefix + ".S")), kTolerance) << layer;
    EXPECT_LT(error(conv_state(slot, layer), expected_conv(layer)), kTolerance) << layer;
  }
}

std::vector<Golden> all_golden() {
  std::vector<Golden> all;
  for (const int tokens : {1, 2, 63, 64, 65, 200}) {
    all.push_back({"gated_deltanet", "", MixerKind::kGatedDeltaNet, tokens});
    all.push_back({"qdelta", "_canonical", MixerKind::kQDelta, tokens});
    all.push_back({"qdelta", "_released", MixerKind::kQDeltaReleased, tokens});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(all_golden()), [](const auto& test) {
  return std::string(test.param.folder) + test.param.tag + "_T" + std::to_string(test.param.tokens);
});

}  // namespace
}  // namespace deltaserve
