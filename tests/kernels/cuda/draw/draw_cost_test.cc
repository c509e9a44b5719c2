// How often a draw reads a row's logits, and in how many launches; the emulation counts both.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/draw/draw.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kVocab = 3000;
constexpr int kRows = 3;
constexpr int64_t kAll = kRows * kVocab;

struct Cost {
  size_t launches = 0;
  int64_t reads = 0;
};

// Draws from kRows rows with these wishes; logits differ by little, so that all tokens weigh.
Cost cost_of(const DeviceDraw& wishes) {
  std::vector<float> logits(kAll);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = 0.01f * static_cast<float>(i * 7919 % 401);
  const std::vector<LogitAdjustment> adjustments = {{3, 1, 0.5f}};
  const std::vector<uint32_t> allowed((kVocab + 31) / 32, 0x7fffffff);
  const std::vector<DeviceDraw> rows(kRows, wishes);
  std::vector<float> scratch(logits.size());
  std::vector<LogitsPart> parts(static_cast<size_t>(kRows * num_parts(kVocab)));
  std::vector<DrawResult> results(kRows);
  EvaluateCall call;
  call.logits = logits.data();
  call.logits_stride = call.vocab = kVocab;
  call.num_rows = kRows;
  call.rows = rows.data();
  call.adjustments = adjustments.data();
  call.allowed = allowed.data();
  call.scratch = scratch.data();
  call.parts = parts.data();
  call.results = results.data();
  std::vector<simt::host::Work> queue;
  launch_evaluate({&queue}, call);
  const int64_t before = simt::host::noted_reads;
  simt::host::run(queue, queue.size());
  EXPECT_GE(results[1].token, wishes.sample ? 0 : -1);
  return {queue.size(), simt::host::noted_reads - before};
}

DeviceDraw drawn(double uniform = 0.7) {
  DeviceDraw draw;
  draw.sample = true;
  draw.uniform = uniform;
  return draw;
}

// The search inside a part reads the 64 tokens by ever fewer of them.
constexpr int64_t kOfAPart = 2 * kPartTokens;

TEST(DrawCost, TheMostLikelyTokenTakesOnePass) {
  DeviceDraw greedy = drawn();
  greedy.temperature = 0;
  EXPECT_EQ(cost_of(greedy).reads, kAll);
  EXPECT_EQ(cost_of({}).reads, kAll);  // a log-probability alone
}

TEST(DrawCost, ADrawAmongAllTokensTakesOnePassAndAPart) {
  for (const float temperature : {0.6f, 1.0f, 1.8f}) {
    for (const double uniform : {0.0, 0.3, 0.99}) {
      DeviceDraw draw = drawn(uniform);
      draw.temperature = temperature;
      const int64_t reads = cost_of(draw).reads;
      EXPECT_GT(reads, kAll);
      EXPECT_LE(reads, kAll + kRows * kOfAPart);
    }
  }
}

// Each of the four warps adds up a quarter of the row, and one quarter is looked at by ever fewer.
constexpr int64_t kSearch = kAll / 4 + kAll / 8;

// Beside the first pass: leaders among what may be drawn, weights, and the parts of a search.
TEST(DrawCost, MasksAdjustmentsAndBoundsTakeFewMore) {
  DeviceDraw bounded = drawn();
  bounded.min_p = 0.1f;
  EXPECT_LE(cost_of(bounded).reads, 2 * kAll + kSearch);
  DeviceDraw masked = drawn();
  masked.allowed = 0;
  EXPECT_LE(cost_of(masked).reads, 3 * kAll + kSearch);
  DeviceDraw adjusted = drawn();
  adjusted.num_adjustments = 1;
  EXPECT_LE(cost_of(adjusted).reads, 4 * kAll + kSearch);
}

TEST(DrawCost, RowsAndWishesAddNoLaunch) {
  DeviceDraw all = drawn();
  all.top_k = 50;
  all.top_p = 0.9f;
  all.min_p = 0.01f;
  all.num_top = 5;
  all.allowed = 0;
  all.num_adjustments = 1;
  EXPECT_EQ(cost_of(all).launches, 2u);
  EXPECT_EQ(cost_of(drawn()).launches, 2u);
}

TEST(DrawCost, WhatIsReadNextIsAskedForWithinItsBounds) {
  constexpr int64_t kBytes = (int64_t{1} << 20) + 48;
  // The emulation reads both ends of each piece: a piece beyond the end is a sanitizer's to find.
  const std::vector<simt::Words4> weights(kBytes / 16);
  std::vector<float> logits(kAll);
  const std::vector<DeviceDraw> rows(kRows, drawn());
  std::vector<LogitsPart> parts(static_cast<size_t>(kRows * num_parts(kVocab)));
  std::vector<DrawResult> results(kRows);
  EvaluateCall call;
  call.logits = logits.data();
  call.logits_stride = call.vocab = kVocab;
  call.num_rows = kRows;
  call.rows = rows.data();
  call.parts = parts.data();
  call.results = results.data();
  call.next_weights = weights.data();
  call.next_bytes = kBytes;
  const int64_t before = simt::host::prefetched_bytes;
  launch_evaluate({}, call);
  EXPECT_EQ(simt::host::prefetched_bytes - before, kBytes);
}

}  // namespace
}  // namespace deltaserve::cuda
