#include "kernels/cpu/draw/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <map>
#include <random>

#include "kernels/base/random.h"

namespace deltaserve {
namespace {

class Sampling : public testing::Test {
 protected:
  DrawResult evaluate(const Draw& row) {
    weights_.assign(logits_.size(), NAN);
    indices_.assign(logits_.size(), -7);
    return cpu::evaluate_row(row, logits_.data(), static_cast<int64_t>(logits_.size()),
                             {weights_.data(), indices_.data()});
  }

  // Counts how often each token is drawn in `draws` positions.
  std::map<int, int> histogram(Draw row, int draws) {
    std::map<int, int> counts;
    row.sample = true;
    for (int i = 0; i < draws; ++i) {
      row.position = static_cast<uint64_t>(i);
      ++counts[evaluate(row).token];
    }
    return counts;
  }

  std::vector<float> logits_ = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f, 0.0f};
  std::vector<float> weights_;
  std::vector<int32_t> indices_;
};

Draw sampling_row() {
  Draw row;
  row.sample = true;
  row.seed = 42;
  return row;
}

TEST_F(Sampling, GreedyTakesTheSmallerOfEqualIds) {
  Draw row = sampling_row();
  row.temperature = 0;
  EXPECT_EQ(evaluate(row).token, 1);
}

TEST_F(Sampling, LogprobsAreOfTheWholeSoftmax) {
  Draw row = sampling_row();
  row.temperature = 0;
  row.top_k = 1;
  row.target = 4;
  row.num_top = 3;
  const DrawResult result = evaluate(row);
  double sum = 0;
  for (const float logit : logits_) sum += std::exp(static_cast<double>(logit));
  EXPECT_NEAR(result.logprob, 3 - std::log(sum), 1e-6);
  EXPECT_NEAR(result.target_logprob, -1 - std::log(sum), 1e-6);
  ASSERT_EQ(result.num_top, 3);
  EXPECT_EQ(result.top_tokens[0], 1);
  EXPECT_EQ(result.top_tokens[1], 3);
  EXPECT_EQ(result.top_tokens[2], 2);
  EXPECT_NEAR(result.top_logprobs[2], 2 - std::log(sum), 1e-6);
}

TEST_F(Sampling, FrequenciesFollowTheSoftmax) {
  const int draws = 20000;
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    Draw row = sampling_row();
    row.temperature = temperature;
    const std::map<int, int> counts = histogram(row, draws);
    double sum = 0;
    for (const float logit : logits_) sum += std::exp(logit / temperature);
    for (size_t i = 0; i < logits_.size(); ++i) {
      const double p = std::exp(logits_[i] / temperature) / sum;
      const auto it = counts.find(static_cast<int>(i));
      const double seen = it == counts.end() ? 0 : it->second;
      EXPECT_NEAR(seen / draws, p, 5 * std::sqrt(p * (1 - p) / draws) + 1e-4) << i;
    }
  }
}

TEST_F(Sampling, TopKKeepsTheMostLikely) {
  Draw row = sampling_row();
  row.temperature = 2;
  row.top_k = 3;
  const std::map<int, int> counts = histogram(row, 2000);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(2) && counts.contains(3));
}

TEST_F(Sampling, TopPKeepsTheSmallestSetThatReachesIt) {
  Draw row = sampling_row();
  row.top_p = 0.70f;  // the two equal ones have 0.39 each
  EXPECT_EQ(histogram(row, 2000).size(), 2u);
  row.top_p = 0.30f;
  const std::map<int, int> one = histogram(row, 200);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one.begin()->first, 1);
}

TEST_F(Sampling, MinPIsRelativeToTheMostLikely) {
  Draw row = sampling_row();
  row.min_p = 0.3f;  // e^-1 = 0.37 stays, e^-2 = 0.14 goes
  const std::map<int, int> counts = histogram(row, 2000);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_FALSE(counts.contains(0));
}

TEST_F(Sampling, DrawsDependOnSeedChoiceAndPositionAlone) {
  Draw row = sampling_row();
  std::vector<int> first;
  for (int i = 0; i < 50; ++i) {
    row.position = static_cast<uint64_t>(i);
    first.push_back(evaluate(row).token);
  }
  for (int i = 49; i >= 0; --i) {
    row.position = static_cast<uint64_t>(i);
    EXPECT_EQ(evaluate(row).token, first[static_cast<size_t>(i)]);
  }
  int different = 0;
  row.choice = 1;
  for (int i = 0; i < 50; ++i) {
    row.position = static_cast<uint64_t>(i);
    different += evaluate(row).token != first[static_cast<size_t>(i)];
  }
  EXPECT_GT(different, 5);
}

TEST_F(Sampling, TopPOverALargeVocabularyEqualsSortingAll) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, 0.5f);
  logits_.resize(5000);
  for (float& logit : logits_) logit = normal(rng);
  Draw row = sampling_row();
  row.top_p = 0.6f;  // needs far more than the first 256 candidates
  std::vector<int> order(logits_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return logits_[a] > logits_[b]; });
  double total = 0;
  for (const float logit : logits_) total += std::exp(static_cast<double>(logit));
  double mass = 0;
  size_t kept = 0;
  while (mass < 0.6 * total) mass += std::exp(static_cast<double>(logits_[order[kept++]]));
  const float least = logits_[order[kept - 1]];
  float least_drawn = 100;
  for (const auto& [token, count] : histogram(row, 3000)) {
    least_drawn = std::min(least_drawn, logits_[token]);
  }
  EXPECT_GE(least_drawn, least - 1e-6f);
  EXPECT_LT(least_drawn, least + 0.05f);
}

TEST_F(Sampling, BrokenLogitsStillGiveATokenOfTheVocabulary) {
  Draw row = sampling_row();
  row.num_top = 2;
  row.top_p = 0.9f;
  for (const float bad :
       {NAN, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()}) {
    logits_.assign(6, bad);
    const DrawResult result = evaluate(row);
    EXPECT_GE(result.token, 0);
    EXPECT_LT(result.token, 6);
  }
  logits_ = {0, NAN, 1};
  for (int i = 0; i < 100; ++i) {
    row.position = static_cast<uint64_t>(i);
    EXPECT_NE(evaluate(row).token, 1);
  }
}

// ---- Adjustments and masks

std::vector<uint32_t> mask_of(std::initializer_list<int> tokens, size_t vocab) {
  std::vector<uint32_t> words((vocab + 31) / 32);
  for (const int token : tokens) words[static_cast<size_t>(token) / 32] |= 1u << (token % 32);
  return words;
}

void set(Draw* row, const std::vector<LogitAdjustment>& adjustments) {
  row->adjustments = adjustments.data();
  row->num_adjustments = static_cast<int32_t>(adjustments.size());
}

bool same_logprobs(const DrawResult& a, const DrawResult& b) {
  return std::memcmp(&a.target_logprob, &b.target_logprob, sizeof(float)) == 0 &&
         a.num_top == b.num_top &&
         std::memcmp(a.top_tokens, b.top_tokens, sizeof a.top_tokens) == 0 &&
         std::memcmp(a.top_logprobs, b.top_logprobs, sizeof a.top_logprobs) == 0;
}

TEST_F(Sampling, AdjustmentsFollowTheFormula) {
  const std::vector<LogitAdjustment> adjustments = {
      {1, 2, 0}, {3, 1, -0.5f}, {4, 2, 0}, {0, 4, 2.5f}};
  const std::vector<float> changed = {2.75f, 1.5f, 2.0f, 2.5f, -2.0f, 0.0f};
  Draw row = sampling_row();
  set(&row, adjustments);
  const int draws = 20000;
  const std::map<int, int> counts = histogram(row, draws);
  double sum = 0;
  for (const float logit : changed) sum += std::exp(static_cast<double>(logit));
  for (size_t i = 0; i < changed.size(); ++i) {
    const double p = std::exp(static_cast<double>(changed[i])) / sum;
    const auto it = counts.find(static_cast<int>(i));
    const double seen = it == counts.end() ? 0 : it->second;
    EXPECT_NEAR(seen / draws, p, 5 * std::sqrt(p * (1 - p) / draws) + 1e-4) << i;
  }
  row.temperature = 0;
  EXPECT_EQ(evaluate(row).token, 0);
}

// A draw with changed logits equals the draw of a model that has them, with every cut.
TEST_F(Sampling, ChangedLogitsDrawAsAModelsOwn) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0, 2);
  logits_.resize(3000);
  for (float& logit : logits_) logit = normal(rng);
  logits_[17] = NAN;
  std::vector<LogitAdjustment> adjustments;
  for (int32_t token = 0; token < 3000; token += 3) {
    adjustments.push_back({token, 1 + 0.01f * static_cast<float>(token % 50), normal(rng)});
  }
  std::vector<uint32_t> allowed((logits_.size() + 31) / 32);
  for (uint32_t& word : allowed) word = static_cast<uint32_t>(rng());
  allowed[3] = ~0u;
  allowed[4] = 0;

  const std::vector<float> raw = logits_;
  std::vector<float> changed = raw;
  for (const LogitAdjustment& a : adjustments) {
    float& x = changed[static_cast<size_t>(a.token)];
    x = (x > 0 ? x / a.factor : x * a.factor) + a.add;
  }
  for (size_t i = 0; i < changed.size(); ++i) {
    if ((allowed[i / 32] >> (i % 32) & 1) == 0)
      changed[i] = -std::numeric_limits<float>::infinity();
  }
  Draw cuts[6];  // the last one cuts nothing
  cuts[0].temperature = 0;
  cuts[1].top_k = 40;
  cuts[2].top_p = 0.97f;  // beyond the first 256 candidates
  cuts[2].temperature = 1.5f;
  cuts[3].min_p = 0.05f;
  cuts[4].top_k = 700;
  cuts[4].top_p = 0.9f;
  cuts[4].min_p = 0.01f;
  for (Draw plain : cuts) {
    plain.sample = true;
    plain.num_top = 5;
    plain.target = 17;
    for (plain.position = 0; plain.position < 300; ++plain.position) {
      Draw row = plain;
      set(&row, adjustments);
      row.allowed = allowed.data();
      logits_ = changed;
      const int32_t expected = evaluate(plain).token;
      logits_ = raw;
      const DrawResult result = evaluate(row);
      ASSERT_EQ(result.token, expected);
      ASSERT_TRUE(allowed[static_cast<size_t>(expected) / 32] >> (expected % 32) & 1);
      ASSERT_TRUE(same_logprobs(result, evaluate(plain)));
      ASSERT_EQ(std::memcmp(logits_.data(), raw.data(), raw.size() * sizeof(float)), 0);
    }
  }
}

// Tests few and many allowed tokens, whole words of the mask and single bits, and a partial last
// word.
TEST_F(Sampling, AMaskAloneIsMinusInfinityElsewhere) {
  std::mt19937 rng(9);
  std::normal_distribution<float> normal(0, 2);
  logits_.resize(1003);
  for (float& logit : logits_) logit = normal(rng);
  logits_[5] = NAN;
  const std::vector<float> raw = logits_;
  for (const uint32_t per_mille : {1u, 100u, 500u, 995u, 1000u}) {
    std::vector<uint32_t> allowed = mask_of({700, 1002}, 1003);
    for (uint32_t i = 0; i < 1003; ++i) {
      if (rng() % 1000 < per_mille) allowed[i / 32] |= 1u << (i % 32);
    }
    allowed.back() |= ~uint32_t{0} << (1003 % 32);  // bits beyond the vocabulary
    std::vector<float> changed = raw;
    for (size_t i = 0; i < changed.size(); ++i) {
      if ((allowed[i / 32] >> (i % 32) & 1) == 0) changed[i] = -INFINITY;
    }
    Draw row = sampling_row();
    for (row.position = 0; row.position < 200; ++row.position) {
      row.allowed = nullptr;
      logits_ = changed;
      const int32_t expected = evaluate(row).token;
      row.allowed = allowed.data();
      logits_ = raw;
      ASSERT_EQ(evaluate(row).token, expected) << per_mille;
    }
  }
}

TEST_F(Sampling, AdjustmentsThatChangeNothingChangeNothing) {
  const std::vector<LogitAdjustment> adjustments = {{0, 1, 0}, {3, 1, 0}};
  const std::vector<uint32_t> all = {~0u};
  Draw row = sampling_row();
  row.top_p = 0.9f;
  for (uint64_t position = 0; position < 200; ++position) {
    row.position = position;
    Draw same = row;
    set(&same, adjustments);
    same.allowed = all.data();
    EXPECT_EQ(evaluate(row).token, evaluate(same).token);
  }
}

TEST_F(Sampling, LogprobsAreOfTheRawLogits) {
  const std::vector<LogitAdjustment> adjustments = {{4, 1, 100}, {1, 1, -100}};
  const std::vector<uint32_t> allowed = mask_of({4, 5}, 6);
  Draw row = sampling_row();
  row.target = 1;
  row.num_top = 2;
  set(&row, adjustments);
  row.allowed = allowed.data();
  const DrawResult result = evaluate(row);
  double sum = 0;
  for (const float logit : logits_) sum += std::exp(static_cast<double>(logit));
  EXPECT_EQ(result.token, 4);
  EXPECT_NEAR(result.logprob, -1 - std::log(sum), 1e-6);
  EXPECT_NEAR(result.target_logprob, 3 - std::log(sum), 1e-6);
  EXPECT_EQ(result.top_tokens[0], 1);
  EXPECT_EQ(result.top_tokens[1], 3);
}

TEST_F(Sampling, OnlyAllowedTokensAreDrawn) {
  const std::vector<uint32_t> allowed = mask_of({0, 4}, 6);
  Draw row = sampling_row();
  row.allowed = allowed.data();
  EXPECT_EQ(histogram(row, 2000).size(), 2u);
  row.top_k = 1;  // of what is allowed
  EXPECT_EQ(evaluate(row).token, 0);
  row.temperature = 0;
  EXPECT_EQ(evaluate(row).token, 0);
}

TEST_F(Sampling, InfiniteAdjustments) {
  const float inf = std::numeric_limits<float>::infinity();
  Draw row = sampling_row();
  const std::vector<LogitAdjustment> ban = {{1, 1, -inf}, {3, 1, -inf}};
  set(&row, ban);
  const std::map<int, int> counts = histogram(row, 500);
  EXPECT_FALSE(counts.contains(1) || counts.contains(3));
  const std::vector<LogitAdjustment> force = {{5, 1, inf}};
  set(&row, force);
  EXPECT_EQ(histogram(row, 100).size(), 1u);
  EXPECT_EQ(evaluate(row).token, 5);
  const std::vector<LogitAdjustment> overflow = {{2, 1e-38f, 0}};  // 2 / 1e-38
  set(&row, overflow);
  EXPECT_EQ(evaluate(row).token, 2);
  const std::vector<LogitAdjustment> broken = {{1, 1, NAN}, {3, 1, NAN}};
  set(&row, broken);
  row.temperature = 0;
  EXPECT_EQ(evaluate(row).token, 2);
}

// All allowed tokens have probability zero; still no other token may come.
TEST_F(Sampling, TheMaskHoldsWhereTheModelIsBroken) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<uint32_t> allowed = mask_of({3, 4}, 6);
  Draw row = sampling_row();
  row.allowed = allowed.data();
  for (const float temperature : {0.0f, 1.0f}) {
    row.temperature = temperature;
    logits_ = {1, 2, 3, -inf, NAN, 4};
    EXPECT_EQ(evaluate(row).token, 3);
    EXPECT_EQ(evaluate(row).logprob, -inf);
    logits_ = {1, 2, 3, NAN, -inf, inf};
    EXPECT_EQ(evaluate(row).token, 3);
    logits_.assign(6, NAN);
    EXPECT_EQ(evaluate(row).token, 3);
    logits_ = {1, 2, 3, NAN, -5, 4};
    EXPECT_EQ(evaluate(row).token, 4);
  }
}

TEST_F(Sampling, ATinyTemperatureIsGreedy) {
  Draw row = sampling_row();
  row.temperature = 1e-45f;
  EXPECT_EQ(histogram(row, 100), (std::map<int, int>{{1, 100}}));
}

TEST_F(Sampling, NoTokenAllowedIsAProgrammerError) {
  const std::vector<uint32_t> none = {0};
  Draw row = sampling_row();
  row.allowed = none.data();
  EXPECT_DEATH(evaluate(row), "invariant broken");
  row.sample = false;
  EXPECT_EQ(evaluate(row).token, -1);
}

TEST(Philox, EqualsThePublishedVector) {
  // This is Random123's known answer for philox4x32-10 with counter and key all ones.
  const Philox bits = philox(~0ull, ~0ull, ~0ull);
  EXPECT_EQ(bits.word[0], 0x408f276du);
  EXPECT_EQ(bits.word[1], 0x41c83b0eu);
  EXPECT_EQ(bits.word[2], 0xa20bc7c6u);
  EXPECT_EQ(bits.word[3], 0x6d5451fdu);
}

}  // namespace
}  // namespace deltaserve
