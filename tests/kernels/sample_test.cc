#include "kernels/cpu/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "kernels/random.h"

namespace deltaserve {
namespace {

class Sampling : public testing::Test {
 protected:
  HeadResult evaluate(const HeadRow& row) {
    weights_.assign(logits_.size(), NAN);
    indices_.assign(logits_.size(), -7);
    return cpu::evaluate_row(row, logits_.data(), static_cast<int64_t>(logits_.size()),
                             {weights_.data(), indices_.data()});
  }

  // How often each token is drawn in `draws` positions.
  std::map<int, int> histogram(HeadRow row, int draws) {
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

HeadRow sampling_row() {
  HeadRow row;
  row.sample = true;
  row.seed = 42;
  return row;
}

TEST_F(Sampling, GreedyTakesTheSmallerOfEqualIds) {
  HeadRow row = sampling_row();
  row.temperature = 0;
  EXPECT_EQ(evaluate(row).token, 1);
}

TEST_F(Sampling, LogprobsAreOfTheWholeSoftmax) {
  HeadRow row = sampling_row();
  row.temperature = 0;
  row.top_k = 1;
  row.target = 4;
  row.num_top = 3;
  const HeadResult result = evaluate(row);
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
    HeadRow row = sampling_row();
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
  HeadRow row = sampling_row();
  row.temperature = 2;
  row.top_k = 3;
  const std::map<int, int> counts = histogram(row, 2000);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(2) && counts.contains(3));
}

TEST_F(Sampling, TopPKeepsTheSmallestSetThatReachesIt) {
  HeadRow row = sampling_row();
  row.top_p = 0.70f;  // the two equal ones have 0.39 each
  EXPECT_EQ(histogram(row, 2000).size(), 2u);
  row.top_p = 0.30f;
  const std::map<int, int> one = histogram(row, 200);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one.begin()->first, 1);
}

TEST_F(Sampling, MinPIsRelativeToTheMostLikely) {
  HeadRow row = sampling_row();
  row.min_p = 0.3f;  // e^-1 = 0.37 stays, e^-2 = 0.14 goes
  const std::map<int, int> counts = histogram(row, 2000);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_FALSE(counts.contains(0));
}

TEST_F(Sampling, DrawsDependOnSeedChoiceAndPositionAlone) {
  HeadRow row = sampling_row();
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
  HeadRow row = sampling_row();
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
  HeadRow row = sampling_row();
  row.num_top = 2;
  row.top_p = 0.9f;
  for (const float bad :
       {NAN, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()}) {
    logits_.assign(6, bad);
    const HeadResult result = evaluate(row);
    EXPECT_GE(result.token, 0);
    EXPECT_LT(result.token, 6);
  }
  logits_ = {0, NAN, 1};
  for (int i = 0; i < 100; ++i) {
    row.position = static_cast<uint64_t>(i);
    EXPECT_NE(evaluate(row).token, 1);
  }
}

TEST(Philox, EqualsThePublishedVector) {
  // Random123's known answer for philox4x32-10 with counter and key all ones.
  const Philox bits = philox(~0ull, ~0ull, ~0ull);
  EXPECT_EQ(bits.word[0], 0x408f276du);
  EXPECT_EQ(bits.word[1], 0x41c83b0eu);
  EXPECT_EQ(bits.word[2], 0xa20bc7c6u);
  EXPECT_EQ(bits.word[3], 0x6d5451fdu);
}

}  // namespace
}  // namespace deltaserve
