#include "kernels/cuda/draw/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/base/random.h"
#include "kernels/cpu/draw/sample.h"

namespace deltaserve {
namespace {

using simt::host::Order;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row of logits and what is asked of it.
struct Case {
  Draw row;  // without its pointers
  std::vector<float> logits;
  std::vector<LogitAdjustment> adjustments;
  std::vector<uint32_t> allowed;  // empty: all may
};

double own_uniform(const Draw& row) {
  return uniform(philox(row.seed, row.position, row.choice));
}

DrawResult by_cpu(const Case& c) {
  Draw row = c.row;
  row.adjustments = c.adjustments.data();
  row.num_adjustments = static_cast<int32_t>(c.adjustments.size());
  row.allowed = c.allowed.empty() ? nullptr : c.allowed.data();
  std::vector<float> weights(c.logits.size());
  std::vector<int32_t> indices(c.logits.size());
  return cpu::evaluate_row(row, c.logits.data(), static_cast<int64_t>(c.logits.size()),
                           {weights.data(), indices.data()});
}

// Changes of what a draw compares with.
struct Shift {
  double uniform = 0;
  float top_p = 0;
  float min_p = 0;  // relative
};

// One call's arrays. All rows have the vocabulary of the first.
class DeviceRows {
 public:
  explicit DeviceRows(const std::vector<Case>& cases, const Shift& shift = {})
      : vocab_(cases[0].logits.size()) {
    for (const Case& c : cases) add(c, shift);
  }

  void set_uniform(double value) {
    for (cuda::DeviceDraw& row : rows_) row.uniform = value;
  }

  std::vector<DrawResult> evaluate(Order order = Order::kForward) {
    const std::vector<float> logits = logits_;
    const size_t count = rows_.size();
    std::vector<float> scratch(count * vocab_, NAN);
    std::vector<DrawResult> results(count + 1);
    std::memset(static_cast<void*>(results.data()), 0xff, results.size() * sizeof(DrawResult));
    simt::host::set_order(order);
    // Slots in reverse; the last row names none.
    std::vector<int32_t> last_tokens(count + 1, -7);
    for (size_t r = 0; r + 1 < count; ++r) rows_[r].slot = static_cast<int32_t>(count - r);
    const auto vocab = static_cast<int64_t>(vocab_);
    cuda::EvaluateCall call;
    call.logits = logits_.data();
    call.logits_stride = call.vocab = vocab;
    call.num_rows = static_cast<int>(count);
    call.rows = rows_.data();
    call.adjustments = adjustments_.data();
    call.allowed = allowed_.data();
    call.scratch = scratch.data();
    const auto num_parts = static_cast<size_t>(cuda::num_parts(vocab)) * count;
    std::vector<cuda::LogitsPart> parts(num_parts + 1, {0, NAN, -7});
    call.parts = parts.data();
    call.results = results.data();
    call.last_tokens = last_tokens.data();
    cuda::launch_evaluate({}, call);
    for (size_t r = 0; r + 1 < count; ++r) {
      EXPECT_EQ(last_tokens[count - r], results[r].token);
    }
    EXPECT_EQ(last_tokens[0], -7);
    EXPECT_EQ(last_tokens[1], -7);
    EXPECT_EQ(std::memcmp(logits.data(), logits_.data(), logits.size() * sizeof(float)), 0);
    for (size_t r = 0; r < count; ++r) {
      if (rows_[r].num_adjustments > 0 && rows_[r].sample) continue;
      for (size_t i = 0; i < vocab_; ++i) EXPECT_TRUE(std::isnan(scratch[r * vocab_ + i]));
    }
    EXPECT_EQ(parts.back().weight, -7);
    EXPECT_EQ(results.back().token, -1);
    EXPECT_EQ(results.back().num_top, -1);
    EXPECT_EQ(results.back().top_tokens[0], -1);
    results.pop_back();
    return results;
  }

 private:
  void add(const Case& c, const Shift& shift) {
    cuda::DeviceDraw row;
    row.target = c.row.target;
    row.num_top = c.row.num_top;
    row.top_k = c.row.top_k;
    row.temperature = c.row.temperature;
    row.top_p = c.row.top_p < 1 ? c.row.top_p + shift.top_p : c.row.top_p;
    row.min_p = c.row.min_p * (1 + shift.min_p);
    row.sample = c.row.sample;
    row.uniform = std::clamp(own_uniform(c.row) + shift.uniform, 0.0, 1 - 0x1p-53);
    row.adjustments = std::ssize(adjustments_);
    row.num_adjustments = static_cast<int32_t>(c.adjustments.size());
    row.allowed = c.allowed.empty() ? -1 : std::ssize(allowed_);
    rows_.push_back(row);
    logits_.insert(logits_.end(), c.logits.begin(), c.logits.end());
    adjustments_.insert(adjustments_.end(), c.adjustments.begin(), c.adjustments.end());
    allowed_.insert(allowed_.end(), c.allowed.begin(), c.allowed.end());
  }

  size_t vocab_;
  std::vector<cuda::DeviceDraw> rows_;
  std::vector<float> logits_;
  std::vector<LogitAdjustment> adjustments_;
  std::vector<uint32_t> allowed_;
};

// Exponentials round differently: may that be the reason for another token than `expected`?
bool is_at_a_boundary(const Case& c, int32_t expected) {
  constexpr double kStep = 2e-6;
  for (const double sign : {-1.0, 1.0}) {
    const auto step = static_cast<float>(sign * kStep);
    for (const Shift& shift : {Shift{sign * kStep, 0, 0}, Shift{0, step, 0}, Shift{0, 0, step}}) {
      if (DeviceRows({c}, shift).evaluate()[0].token == expected) return true;
    }
  }
  return false;
}

void expect_logprob(float actual, float expected) {
  if (std::isinf(expected)) {
    EXPECT_EQ(actual, expected);
  } else {
    EXPECT_NEAR(actual, expected, 1e-5 * std::max(1.0f, std::abs(expected)));
  }
}

// Returns whether the token is another one, by rounding.
bool expect_as_cpu(const Case& c, const DrawResult& actual) {
  const DrawResult expected = by_cpu(c);
  const bool same = actual.token == expected.token;
  if (same) {
    expect_logprob(actual.logprob, expected.logprob);
  } else {
    EXPECT_TRUE(is_at_a_boundary(c, expected.token)) << actual.token << " for " << expected.token;
  }
  expect_logprob(actual.target_logprob, expected.target_logprob);
  EXPECT_EQ(actual.num_top, expected.num_top);
  for (int i = 0; i < kMaxTopLogprobs; ++i) {
    EXPECT_EQ(actual.top_tokens[i], expected.top_tokens[i]) << i;
    expect_logprob(actual.top_logprobs[i], expected.top_logprobs[i]);
  }
  return !same;
}

// Both orders of threads must give the same bits; returns them.
std::vector<DrawResult> evaluate_both(const std::vector<Case>& cases) {
  DeviceRows rows(cases);
  const std::vector<DrawResult> forward = rows.evaluate(Order::kForward);
  const std::vector<DrawResult> backward = rows.evaluate(Order::kBackward);
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(std::memcmp(&forward[i], &backward[i], sizeof(DrawResult)), 0) << i;
  }
  return forward;
}

void expect_all_as_cpu(const std::vector<Case>& cases) {
  const std::vector<DrawResult> results = evaluate_both(cases);
  int64_t rounded = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Draw& row = cases[i].row;
    SCOPED_TRACE(testing::Message()
                 << "case " << i << " vocab " << cases[i].logits.size() << " temperature "
                 << row.temperature << " top_k " << row.top_k << " top_p " << row.top_p << " min_p "
                 << row.min_p << " adjustments " << cases[i].adjustments.size() << " mask "
                 << cases[i].allowed.size() << " uniform " << own_uniform(row));
    rounded += expect_as_cpu(cases[i], results[i]);
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_LE(rounded, 1 + std::ssize(cases) / 50);
}

// ---- Random rows

class Generator {
 public:
  explicit Generator(uint32_t seed) : rng_(seed) {}

  int below(int n) { return static_cast<int>(rng_() % static_cast<uint32_t>(n)); }
  bool once_in(int n) { return below(n) == 0; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + below(static_cast<int>(values.size())));
  }
  float normal(float deviation) { return std::normal_distribution<float>(0, deviation)(rng_); }

  std::vector<float> logits(int vocab) {
    const float deviation = one_of({0.0f, 0.02f, 0.7f, 3.0f, 20.0f});
    const float mean = one_of({0.0f, -30.0f, 12.0f});
    // Logits of a bf16 matmul have few values.
    const float grid = one_of({0.0f, 0.0f, 0.25f, 1.0f});
    std::vector<float> logits(static_cast<size_t>(vocab));
    for (float& logit : logits) {
      logit = mean + normal(deviation);
      if (grid > 0) logit = std::round(logit / grid) * grid;  // -0 too
    }
    if (once_in(4)) spoil(logits);
    return logits;
  }

  Case next(int vocab) {
    Case c;
    c.logits = logits(vocab);
    c.row.target = once_in(3) ? -1 : below(vocab);
    c.row.num_top = one_of({0, 0, 1, 5, kMaxTopLogprobs});
    c.row.sample = !once_in(10);
    c.row.temperature = one_of({1.0f, 1.0f, 0.6f, 1.7f, 30.0f, 0.05f, 0.0f, 1e-45f});
    c.row.top_k = one_of({0, 0, 1, 7, vocab / 2, vocab - 1, vocab, 2 * vocab});
    c.row.top_p = one_of({1.0f, 1.0f, 0.0f, 0.3f, 0.9f, 0.99f, 0.99999f});
    c.row.min_p = one_of({0.0f, 0.0f, 0.02f, 0.5f, 1.0f});
    c.row.seed = rng_();
    c.row.position = rng_();
    c.row.choice = static_cast<uint32_t>(below(3));
    if (once_in(3)) c.adjustments = adjustments(vocab);
    if (once_in(3)) c.allowed = mask(vocab);
    return c;
  }

 private:
  void spoil(std::vector<float>& logits) {
    const int kind = below(5);
    for (float& logit : logits) {
      if (kind == 0 && once_in(3)) logit = NAN;
      if (kind == 1 && !once_in(10)) logit = -kInfinity;
      if (kind == 2) logit = one_of({NAN, -kInfinity});
      if (kind == 3 && once_in(20)) logit = one_of({1e38f, -1e38f, 3.4e38f, 1e-42f});
    }
    if (kind == 4) logits[static_cast<size_t>(below(static_cast<int>(logits.size())))] = kInfinity;
  }

  std::vector<LogitAdjustment> adjustments(int vocab) {
    std::vector<LogitAdjustment> all;
    const int rarity = one_of({2, 10, 300});
    for (int32_t token = 0; token < vocab; ++token) {
      if (!once_in(rarity)) continue;
      const float add = one_of({0.0f, normal(2), normal(2), -kInfinity});
      all.push_back({token, one_of({1.0f, 1.3f, 0.8f}), once_in(100) ? kInfinity : add});
    }
    return all;
  }

  std::vector<uint32_t> mask(int vocab) {
    std::vector<uint32_t> words((static_cast<size_t>(vocab) + 31) / 32);
    const int per_mille = one_of({0, 100, 900, 1000});
    const int sure = below(vocab);
    for (int i = 0; i < vocab; ++i) {
      if (i == sure || below(1000) < per_mille) words[static_cast<size_t>(i) / 32] |= 1u << i % 32;
    }
    if (vocab % 32 != 0) words.back() |= ~0u << vocab % 32;  // bits that stand for no token
    return words;
  }

  std::mt19937 rng_;
};

class RandomRows : public testing::TestWithParam<int> {};

TEST_P(RandomRows, AreAsOnTheCpu) {
  const int vocab = GetParam();
  Generator generator(static_cast<uint32_t>(vocab));
  std::vector<Case> cases;
  for (int i = 0; i < (vocab > 4096 ? 15 : 70); ++i) cases.push_back(generator.next(vocab));
  expect_all_as_cpu(cases);
}

INSTANTIATE_TEST_SUITE_P(All, RandomRows,
                         testing::Values(8, 31, 64, 100, 511, 512, 513, 1500, 3000, 6000),
                         testing::PrintToStringParamName());

// ---- Rows made for one thing each

std::vector<float> normal_logits(int vocab, float deviation) {
  Generator generator(7);
  std::vector<float> logits(static_cast<size_t>(vocab));
  for (float& logit : logits) logit = generator.normal(deviation);
  return logits;
}

// The same row, drawn from at different positions.
std::vector<Case> draws_from(const Case& c, int count) {
  std::vector<Case> draws(static_cast<size_t>(count), c);
  for (int i = 0; i < count; ++i) {
    draws[static_cast<size_t>(i)].row.sample = true;
    draws[static_cast<size_t>(i)].row.seed = 42;
    draws[static_cast<size_t>(i)].row.position = static_cast<uint64_t>(i);
  }
  return draws;
}

TEST(CudaDraw, DrawsAsTheCpuOverAllOfADistribution) {
  Draw cuts[4];
  cuts[1].min_p = 0.05f;
  cuts[2].top_k = 20;
  cuts[3].top_p = 0.8f;
  for (const Draw& row : cuts) {
    expect_all_as_cpu(draws_from({row, normal_logits(50, 1.5f), {}, {}}, 70));
  }
}

// The tokens of many parts weigh something, so a draw has to find the part and its place in it.
TEST(CudaDraw, DrawsAsTheCpuAmongManyParts) {
  for (const float temperature : {0.6f, 1.0f, 1.8f}) {
    Case c = {{}, normal_logits(700, 1.5f), {}, {}};
    c.row.temperature = temperature;
    expect_all_as_cpu(draws_from(c, 70));
  }
}

// A block sorts 512 tokens of 3000 at once.
TEST(CudaDraw, KeepsMoreTokensThanItSorts) {
  Draw cuts[6];
  cuts[0].top_p = 0.5f;
  cuts[1].top_p = 0.95f;
  cuts[1].min_p = 0.2f;
  cuts[2].top_k = 2000;
  cuts[3].top_k = 1500;
  cuts[3].top_p = 0.9f;
  cuts[4].top_k = 512;
  cuts[5].top_p = 0.9999999f;
  for (const float deviation : {0.0f, 0.4f, 2.0f}) {
    for (const Draw& row : cuts) {
      expect_all_as_cpu(draws_from({row, normal_logits(3000, deviation), {}, {}}, 6));
    }
  }
}

TEST(CudaDraw, NarrowsAWideRangeOfValues) {
  Case c;
  c.logits.assign(1500, -1e38f);
  for (size_t i = 0; i < 600; ++i) c.logits[2 * i] = 3e38f - 1e33f * static_cast<float>(i);
  c.row.temperature = 1e34f;
  c.row.top_p = 0.99f;
  c.row.num_top = 20;
  expect_all_as_cpu(draws_from(c, 20));
}

TEST(CudaDraw, EqualLogitsComeInOrderOfTheirIds) {
  Case c;
  c.logits.assign(1400, -0.0f);
  for (size_t i = 0; i < 1400; i += 3) c.logits[i] = 0.0f;
  c.logits[0] = c.logits[5] = -1;
  c.row.num_top = 20;
  c.row.top_p = 0.7f;
  const std::vector<Case> cases = draws_from(c, 20);
  expect_all_as_cpu(cases);
  const DrawResult result = DeviceRows(cases).evaluate()[0];
  for (int i = 0; i < 20; ++i) EXPECT_EQ(result.top_tokens[i], i < 4 ? i + 1 : i + 2);
}

// A uniform number of 0 draws the first candidate, the largest one below 1 the last.
TEST(CudaDraw, TheEndsOfADistribution) {
  const std::vector<float> logits = {-kInfinity, -200, 1, 3, 2, 3, -1, 0, NAN, -300};
  const auto token = [&](const Draw& row, double value) {
    DeviceRows rows(draws_from({row, logits, {}, {}}, 1));
    rows.set_uniform(value);
    return rows.evaluate()[0].token;
  };
  const double last = 1 - 0x1p-53;
  Draw row;
  EXPECT_EQ(token(row, 0), 2);
  EXPECT_EQ(token(row, last), 7);
  // Sums that are rounded may stay below the goal: then the last token that has a weight is drawn.
  EXPECT_EQ(token(row, 1), 7);
  row.min_p = 0.3f;
  EXPECT_EQ(token(row, 0), 3);
  EXPECT_EQ(token(row, last), 5);
  row.top_k = 4;
  EXPECT_EQ(token(row, 0), 3);
  EXPECT_EQ(token(row, last), 4);
  row.min_p = 0;
  EXPECT_EQ(token(row, 0), 3);
  EXPECT_EQ(token(row, last), 2);
}

TEST(CudaDraw, OneAllowedTokenIsDrawnWhateverItsLogit) {
  for (const float logit : {0.0f, -50.0f, -200.0f, -kInfinity, NAN, 1e38f}) {
    Draw cuts[5];
    cuts[1].temperature = 0;
    cuts[2].top_k = 3;
    cuts[3].top_p = 0.5f;
    cuts[4].min_p = 1;
    for (const Draw& row : cuts) {
      Case c = {row, normal_logits(70, 1), {{37, 1.5f, 0.5f}}, {0, 32, 0}};
      c.logits[37] = logit;
      for (const bool adjusted : {true, false}) {
        if (!adjusted) c.adjustments.clear();
        const std::vector<Case> cases = draws_from(c, 1);
        EXPECT_EQ(DeviceRows(cases).evaluate()[0].token, 37);
        expect_all_as_cpu(cases);
      }
    }
  }
}

TEST(CudaDraw, BrokenRowsReportACertainLoss) {
  for (const float bad : {NAN, -kInfinity, kInfinity}) {
    Case c = {{}, std::vector<float>(40, bad), {{3, 1, 2}}, {~0u << 5, ~0u}};
    c.row.target = 3;
    c.row.num_top = 5;
    c.row.top_p = 0.5f;
    const std::vector<Case> cases = draws_from(c, 1);
    expect_all_as_cpu(cases);
    const DrawResult result = DeviceRows(cases).evaluate()[0];
    EXPECT_EQ(result.token, 5);
    EXPECT_EQ(result.target_logprob, -kInfinity);
    EXPECT_EQ(result.num_top, 0);
  }
}

// Programmer errors on the CPU; here they end, and draw nothing that is forbidden.
TEST(CudaDraw, ImpossibleWishesEnd) {
  Case c = {{}, normal_logits(600, 1), {}, std::vector<uint32_t>(19)};
  EXPECT_EQ(DeviceRows(draws_from(c, 1)).evaluate()[0].token, -1);
  c.allowed[2] = 4;
  c.row.min_p = 2;
  EXPECT_EQ(DeviceRows(draws_from(c, 1)).evaluate()[0].token, 66);
  c.row.top_p = 0.9f;
  EXPECT_EQ(DeviceRows(draws_from(c, 1)).evaluate()[0].token, 66);
  c.allowed.assign(19, ~0u);
  const int32_t token = DeviceRows(draws_from(c, 1)).evaluate()[0].token;
  EXPECT_TRUE(token >= 0 && token < 600);
}

TEST(CudaDraw, ARowsBitsAreItsOwn) {
  for (const int vocab : {100, 700}) {
    Generator generator(3);
    std::vector<Case> cases;
    for (int i = 0; i < 30; ++i) cases.push_back(generator.next(vocab));
    const std::vector<DrawResult> together = DeviceRows(cases).evaluate();
    for (size_t i = 0; i < cases.size(); ++i) {
      const DrawResult alone = DeviceRows({cases[i]}).evaluate()[0];
      EXPECT_EQ(std::memcmp(&alone, &together[i], sizeof alone), 0) << i;
    }
  }
}

}  // namespace
}  // namespace deltaserve
