#include "engine/sequence/penalties.h"

#include <gtest/gtest.h>

#include <map>

namespace deltaserve {
namespace {

constexpr int32_t kVocab = 10;

std::map<int32_t, std::pair<float, float>> shown(const Penalties& penalties) {
  std::map<int32_t, std::pair<float, float>> by_token;
  for (const LogitAdjustment& a : penalties.adjustments()) {
    EXPECT_TRUE(by_token.emplace(a.token, std::pair(a.factor, a.add)).second) << a.token;
  }
  return by_token;
}

SamplingParams sampling(float repetition, float presence, float frequency) {
  SamplingParams params;
  params.repetition_penalty = repetition;
  params.presence_penalty = presence;
  params.frequency_penalty = frequency;
  return params;
}

using Shown = std::map<int32_t, std::pair<float, float>>;

void read(Penalties* penalties, std::initializer_list<int32_t> prompt,
          std::initializer_list<int32_t> answer) {
  for (const int32_t token : prompt) penalties->add_prompt_token(token);
  for (const int32_t token : answer) penalties->add_generated_token(token);
}

TEST(Penalties, NothingAskedNothingChanged) {
  Penalties penalties(SamplingParams{}, kVocab);
  read(&penalties, {1, 2}, {3});
  EXPECT_TRUE(penalties.adjustments().empty());
}

TEST(Penalties, RepetitionCountsPromptAndAnswer) {
  Penalties penalties(sampling(1.5f, 0, 0), kVocab);
  read(&penalties, {1, 2, 1}, {3, 3});
  EXPECT_EQ(shown(penalties), (Shown{{1, {1.5f, 0}}, {2, {1.5f, 0}}, {3, {1.5f, 0}}}));
}

TEST(Penalties, PresenceAndFrequencyCountTheAnswer) {
  Penalties penalties(sampling(1, 0.5f, 0.25f), kVocab);
  read(&penalties, {1, 2}, {3, 2, 3, 3});
  EXPECT_EQ(shown(penalties), (Shown{{2, {1, -0.75f}}, {3, {1, -1.25f}}}));
}

TEST(Penalties, NegativePenaltiesEncourage) {
  Penalties penalties(sampling(1, -2, -1), kVocab);
  read(&penalties, {}, {4, 4});
  EXPECT_EQ(shown(penalties), (Shown{{4, {1, 4}}}));
}

TEST(Penalties, BiasesAddToTheRest) {
  SamplingParams params = sampling(2, 1, 0);
  params.logit_bias = {{9, -100}, {3, 5}};
  Penalties penalties(params, kVocab);
  EXPECT_EQ(shown(penalties), (Shown{{9, {1, -100}}, {3, {1, 5}}}));
  read(&penalties, {9}, {3, 3});
  EXPECT_EQ(shown(penalties), (Shown{{9, {2, -100}}, {3, {2, 4}}}));
}

TEST(Penalties, BiasesAloneStayAsTheyAre) {
  SamplingParams params;
  params.logit_bias = {{3, 5}};
  Penalties penalties(params, kVocab);
  read(&penalties, {3, 4}, {3, 5});
  EXPECT_EQ(shown(penalties), (Shown{{3, {1, 5}}}));
}

TEST(Penalties, CopiesGoTheirOwnWays) {
  Penalties prompt(sampling(2, 0, 1), kVocab);
  read(&prompt, {1}, {});
  Penalties one = prompt, other = prompt;
  one.add_generated_token(1);
  other.add_generated_token(2);
  EXPECT_EQ(shown(prompt), (Shown{{1, {2, 0}}}));
  EXPECT_EQ(shown(one), (Shown{{1, {2, -1}}}));
  EXPECT_EQ(shown(other), (Shown{{1, {2, 0}}, {2, {2, -1}}}));
}

TEST(Penalties, TheVocabularyBoundsThem) {
  Penalties penalties(sampling(2, 0, 1), kVocab);
  for (int32_t i = 0; i < 1000; ++i) read(&penalties, {i % kVocab}, {i % kVocab});
  EXPECT_EQ(penalties.adjustments().size(), static_cast<size_t>(kVocab));
}

}  // namespace
}  // namespace deltaserve
