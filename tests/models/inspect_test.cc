#include "models/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;

MixerShape small_shape() {
  MixerShape shape;
  shape.heads = 2;
  shape.key_dim = 16;
  shape.value_dim = 8;
  return shape;
}

TEST(Inspect, AStateHasOneSizeAtAnyLength) {
  const std::string text = describe_state(StateLayout::of(small_shape(), 3));
  EXPECT_THAT(text, HasSubstr("bytes of one sequence, at any length\n"));
  EXPECT_THAT(text, HasSubstr("3 x f32 [2, 8, 16]\n"));
  EXPECT_THAT(text, Not(HasSubstr("for each token")));
  EXPECT_THAT(text, testing::ContainsRegex("each token +0 "));
}

// No mixer has such a part yet.
TEST(Inspect, PartsOfEachTokenAreShown) {
  StateLayout layout = StateLayout::of(small_shape(), 1);
  for (int i = 0; i < 2; ++i) {
    layout.add_empty();
    layout.add_for_each_token("keys", StateFormat::kBf16, 4, 32);
  }
  const std::string text = describe_state(layout);
  EXPECT_THAT(text, HasSubstr("bytes of one sequence\n"));
  EXPECT_THAT(text, HasSubstr("2 x bf16 [4, 1, 32] for each token\n"));
  EXPECT_THAT(text, testing::ContainsRegex("at its start +1,024 "));
  EXPECT_THAT(text, testing::ContainsRegex("each token +512 "));
}

}  // namespace
}  // namespace deltaserve
