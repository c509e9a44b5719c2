// Compares whole tiny models with logits and states computed in float64 (tests/golden/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>

#include "models/checkpoint/safetensors.h"
#include "tests/models/golden_folders.h"
#include "tests/models/loaded_model.h"
#include "tests/models/state_reader.h"

namespace deltaserve {
namespace {

constexpr int kDecoded = 5;
constexpr size_t kGreedyPrompt = 10;
// The logits of these models have a root mean square of up to 2. Where their error is a tolerance
// of their norm, a log-probability is therefore off by twice that, and the largest error among some
// dozens of tokens is three times as large.
constexpr double kLogprobTolerances = 6;

Checkpoint open_expected(const std::string& folder) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder + "/expected");
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

std::vector<float> values_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.info.num_elements()));
  memcpy(values.data(), tensor.data, values.size() * sizeof(float));
  return values;
}

double error(const std::vector<float>& x, const std::vector<float>& truth) {
  EXPECT_EQ(x.size(), truth.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < std::min(x.size(), truth.size()); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - truth[i], 2);
    norm += std::pow(static_cast<double>(truth[i]), 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

struct Golden {
  std::string folder;
  std::string tag;  // "T65", or with the semantics "T65_released"

  int tokens() const { return std::stoi(tag.substr(1)); }
  // Returns the semantics that the tag names, for models that have golden files of both.
  std::optional<MixerKind> kind() const {
    if (tag.ends_with("_canonical")) return MixerKind::kQDelta;
    if (tag.ends_with("_released")) return MixerKind::kQDeltaReleased;
    return std::nullopt;
  }
};

class GoldenModel : public testing::TestWithParam<Golden> {
 protected:
  GoldenModel()
      : expected_(open_expected(GetParam().folder)),
        model_(GetParam().folder, 2, 2, GetParam().kind()) {}

  bool has(const std::string& name) const {
    return expected_.tensors().contains(GetParam().tag + "." + name);
  }
  std::vector<float> expected(const std::string& name) const {
    const auto it = expected_.tensors().find(GetParam().tag + "." + name);
    if (it != expected_.tensors().end()) return values_of(it->second);
    ADD_FAILURE() << name;
    return {};
  }

  double tolerance() { return golden_tolerance(model_->config().layers[0].mixer); }

  // Returns the shape of the compared layer.
  const MixerShape& shape() { return model_->config().layers[layer_].mixer; }

  void compare_part(const std::string& name, const StateSpan& part,
                    const std::vector<float>& values) {
    EXPECT_EQ(has(name), part.floats > 0) << name;
    if (part.floats == 0) return;
    EXPECT_LT(error(values, expected(name)), tolerance()) << name;
  }

  void compare_conv(const std::string& prefix, const LayerState& state, const StateSpan& part) {
    if (part.floats == 0) return;
    const int64_t q = shape().q_columns();
    const int64_t k = shape().k_columns();
    const int64_t v = shape().v_columns();
    const int64_t tokens = GetParam().tokens() + kDecoded;
    if (model_->config().layers[layer_].model_type == "mamba2") {  // x, B, C: our v, k, q
      std::vector<float> rows = state.conv_rows(q + k, v, tokens);
      for (const auto& [first, count] : {std::pair(q, k), std::pair(int64_t{0}, q)}) {
        const std::vector<float> more = state.conv_rows(first, count, tokens);
        rows.insert(rows.end(), more.begin(), more.end());
      }
      compare_part(prefix + "conv_x", part, rows);
      return;
    }
    compare_part(prefix + "conv_q", part, state.conv_rows(0, q, tokens));
    compare_part(prefix + "conv_k", part, state.conv_rows(q, k, tokens));
    compare_part(prefix + "conv_v", part, state.conv_rows(q + k, v, tokens));
  }

  void compare_states() {
    const std::vector<float> slot = model_.state(0);
    for (size_t layer = 0; layer < model_->layout().layers.size(); ++layer) {
      SCOPED_TRACE(layer);
      if (!model_->config().layers[layer].has_mixer) continue;
      layer_ = layer;
      const LayerStateLayout& parts = model_->layout().layers[layer];
      const LayerState state(slot.data(), parts, shape());
      const std::string prefix = "final." + std::to_string(layer) + ".";
      const int64_t heads = shape().heads;
      const int64_t dim = shape().key_dim;
      compare_part(prefix + "S", parts.state, state.matrix());
      compare_part(prefix + "A", parts.squares,
                   state.rows(parts.squares, shape().precond_heads, dim));
      compare_part(prefix + "z", parts.key_sum, state.rows(parts.key_sum, heads, dim));
      compare_part(prefix + "ccq_P", parts.covariance, state.covariance());
      compare_part(prefix + "ccq_z", parts.key_count,
                   state.rows(parts.key_count, heads, shape().count_width()));
      compare_part(prefix + "ccq_m", parts.key_mean, state.rows(parts.key_mean, heads, dim));
      compare_conv(prefix, state, parts.conv_rows);
    }
  }

  Checkpoint expected_;
  LoadedModel model_;
  size_t layer_ = 0;
};

TEST_P(GoldenModel, PrefillDecodeAndStates) {
  const int tokens = GetParam().tokens();
  const std::vector<float> raw = expected("ids");
  const std::vector<int32_t> ids(raw.begin(), raw.end());
  const double prefill_error = error(model_.prefill(0, ids, 0, tokens), expected("prefill_logits"));
  EXPECT_LT(prefill_error, tolerance());
  std::vector<float> decoded;
  for (int t = tokens; t < tokens + kDecoded; ++t) {
    const std::vector<float> logits = model_.decode(0, ids[static_cast<size_t>(t)], t);
    decoded.insert(decoded.end(), logits.begin(), logits.end());
  }
  const double decode_error = error(decoded, expected("decode_logits"));
  EXPECT_LT(decode_error, tolerance());
  RecordProperty("prefill_error", std::to_string(prefill_error));
  RecordProperty("decode_error", std::to_string(decode_error));
  compare_states();
}

std::vector<Golden> all_golden() {
  std::vector<Golden> all;
  for (const std::string& folder : golden_folders()) {
    std::set<std::string> tags;
    const Checkpoint expected = open_expected(folder);
    for (const auto& [name, tensor] : expected.tensors()) {
      if (name.starts_with("T")) tags.insert(name.substr(0, name.find('.')));
    }
    for (const std::string& tag : tags) all.push_back({folder, tag});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(all_golden()), [](const auto& test) {
  return folder_name(test.param.folder) + "_" + test.param.tag;
});

// The list is complete, so that a lost folder is noticed.
TEST(GoldenFolders, Count) {
  EXPECT_EQ(golden_folders().size(), 20u + 32u);
  EXPECT_EQ(all_golden().size(), 19u * 6 + 33 + 2);
}

class GreedyModel : public testing::TestWithParam<std::string> {};

// Returns argmax and log-probability of a row of logits.
std::pair<int32_t, double> most_likely(const std::vector<float>& logits, size_t vocab) {
  const float* row = logits.data() + logits.size() - vocab;
  const float* best = std::max_element(row, row + vocab);
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - *best);
  return {static_cast<int32_t>(best - row), -std::log(sum)};
}

TEST_P(GreedyModel, Continues) {
  const Checkpoint expected = open_expected(GetParam());
  const std::vector<float> raw = values_of(expected.tensors().at("greedy.ids"));
  const std::vector<float> logprobs = values_of(expected.tensors().at("greedy.logprobs"));
  const std::vector<int32_t> ids(raw.begin(), raw.end());
  ASSERT_EQ(ids.size(), kGreedyPrompt + logprobs.size());
  LoadedModel model(GetParam(), 2);
  const double tolerance = kLogprobTolerances * golden_tolerance(model->config().layers[0].mixer);
  double largest = 0;
  std::vector<float> logits = model.prefill(0, ids, 0, kGreedyPrompt);
  for (size_t t = kGreedyPrompt; t < ids.size(); ++t) {
    const auto [token, logprob] = most_likely(logits, static_cast<size_t>(model.vocab()));
    ASSERT_EQ(token, ids[t]) << t;
    const double truth = static_cast<double>(logprobs[t - kGreedyPrompt]);
    EXPECT_NEAR(logprob, truth, tolerance) << t;
    largest = std::max(largest, std::abs(logprob - truth));
    logits = model.decode(0, token, static_cast<int64_t>(t));
  }
  RecordProperty("logprob_error", std::to_string(largest));
}

std::vector<std::string> folders_with_greedy() {
  std::vector<std::string> folders;
  for (const std::string& folder : golden_folders()) {
    const Checkpoint expected = open_expected(folder);
    if (expected.tensors().contains("greedy.ids")) folders.push_back(folder);
  }
  return folders;
}

INSTANTIATE_TEST_SUITE_P(All, GreedyModel, testing::ValuesIn(folders_with_greedy()),
                         [](const auto& test) { return folder_name(test.param); });

}  // namespace
}  // namespace deltaserve
