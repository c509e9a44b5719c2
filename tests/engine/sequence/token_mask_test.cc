#include "engine/sequence/token_mask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace deltaserve {
namespace {

// Sets every bit of the words or none, including those beyond the vocabulary.
class Everything final : public TokenConstraint {
 public:
  explicit Everything(bool all) : all_(all) {}
  void allowed(std::span<uint32_t> words) const override {
    std::fill(words.begin(), words.end(), all_ ? ~0u : 0u);
  }
  void accept(int32_t) override {}
  bool finished() const override { return false; }
  std::unique_ptr<TokenConstraint> clone() const override { return nullptr; }

 private:
  const bool all_;
};

class TokenMaskTest : public testing::TestWithParam<int32_t> {};

TEST_P(TokenMaskTest, HoldsTheVocabularyAndNoMore) {
  const int32_t vocab = GetParam();
  TokenMask mask(vocab);
  std::vector<int32_t> all;
  for (int32_t token = 0; token < vocab; ++token) all.push_back(token);
  EXPECT_FALSE(mask.any());
  for (int round = 0; round < 2; ++round) {
    round == 0 ? mask.allow_all() : mask.allow_only(Everything(true));
    EXPECT_TRUE(mask.any());
    const int32_t last = vocab - 1;
    mask.remove(std::span(all).first(vocab - 1));
    for (int32_t token = 0; token < vocab; ++token) {
      EXPECT_EQ(mask.words()[token / 32] >> (token % 32) & 1, token == last ? 1u : 0u);
    }
    EXPECT_TRUE(mask.any());
    mask.remove({{last}});
    EXPECT_FALSE(mask.any());
  }
  mask.allow_all();
  mask.allow_only(Everything(false));
  EXPECT_FALSE(mask.any());
}

INSTANTIATE_TEST_SUITE_P(Sizes, TokenMaskTest, testing::Values(1, 31, 32, 33, 64, 257));

TEST(TokenMask, PassesOverForeignIds) {
  TokenMask mask(40);
  mask.allow_all();
  const std::vector<int32_t> foreign{-1, 40, 63, 1 << 30};
  mask.remove(foreign);
  EXPECT_EQ(mask.words()[0], ~0u);
  EXPECT_EQ(mask.words()[1], 0xFFu);
}

}  // namespace
}  // namespace deltaserve
