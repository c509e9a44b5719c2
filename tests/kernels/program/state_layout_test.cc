#include "kernels/program/state_layout.h"

#include <gtest/gtest.h>

#include "kernels/base/thread_pool.h"
#include "kernels/program/backend.h"
#include "kernels/program/program.h"

namespace deltaserve {
namespace {

MixerShape small_shape() {
  MixerShape shape;
  shape.heads = 2;
  shape.key_dim = 16;
  shape.value_dim = 8;
  return shape;
}

// A layer with a mixer, and one that keeps the keys and values of each token, as attention would.
StateLayout growing_layout() {
  StateLayout layout = StateLayout::of(small_shape(), 1);
  layout.add_empty();
  layout.add_for_each_token("keys", StateFormat::kBf16, 4, 32);
  layout.add_for_each_token("values", StateFormat::kF32, 4, 64);
  return layout;
}

TEST(StateLayout, PartsOfEachTokenAreInNoSlot) {
  const StateLayout fixed = StateLayout::of(small_shape(), 1);
  const StateLayout layout = growing_layout();
  EXPECT_EQ(fixed.bytes_per_token(), 0);
  EXPECT_EQ(layout.bytes(), fixed.bytes());
  EXPECT_EQ(layout.bytes_per_token(), 4 * 32 * 2 + 4 * 64 * 4);
  ASSERT_EQ(layout.parts.size(), fixed.parts.size() + 2);
  const StatePart& keys = layout.parts[layout.parts.size() - 2];
  const StatePart& values = layout.parts.back();
  EXPECT_EQ(keys.layer, 1);
  EXPECT_EQ(keys.offset, 0);
  EXPECT_EQ(values.layer, 1);
  EXPECT_EQ(values.per, Per::kToken);
  EXPECT_EQ(values.offset, keys.bytes());
}

// The next layer has the same place in the slot with and without them.
TEST(StateLayout, LaterLayersKeepTheirPlaces) {
  StateLayout layout = growing_layout();
  layout.add_mixer(small_shape(), StateFormat::kF32);
  EXPECT_EQ(layout.layers[2].state.offset,
            StateLayout::of(small_shape(), 2).layers[1].state.offset);
  EXPECT_EQ(layout.parts.back().per, Per::kSequence);
  EXPECT_EQ(layout.parts.back().layer, 2);
}

TEST(StateLayout, TheCpuRefusesWhatGrowsWithTheTokens) {
  ThreadPool threads(1);
  const auto backend = make_cpu_backend(&threads);
  const StateLayout fixed = StateLayout::of(small_shape(), 1);
  const StateLayout layout = growing_layout();
  Program program;
  program.parts = array_of(fixed.parts);
  EXPECT_EQ(backend->refusal(program, Limits()), "");
  program.parts = array_of(layout.parts);
  EXPECT_EQ(backend->refusal(program, Limits()),
            "each token has 256 bytes of keys of its own in layer 1; there is only memory of a "
            "fixed size for each sequence");
}

}  // namespace
}  // namespace deltaserve
