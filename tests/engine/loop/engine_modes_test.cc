// Submits hundreds of random requests, whose streams must be the same whether or not the runner
// runs ahead.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loop/engine.h"
#include "tests/engine/loop/engine_testing.h"
#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

constexpr int kRequests = 80;

// Returns a token that depends on the penalties too and sometimes ends the text.
int32_t next_token(const std::vector<int32_t>& tokens, const Draw& draw) {
  uint64_t hash = static_cast<uint64_t>(FakeRunner::hashed_letter(tokens, draw));
  for (int32_t i = 0; i < draw.num_adjustments; ++i) {
    const LogitAdjustment& adjustment = draw.adjustments[i];
    uint32_t factor, add;
    std::memcpy(&factor, &adjustment.factor, sizeof factor);
    std::memcpy(&add, &adjustment.add, sizeof add);
    for (const uint32_t part : {static_cast<uint32_t>(adjustment.token), factor, add}) {
      hash = (hash ^ part) * 0x100000001B3u;
    }
  }
  hash = (hash ^ draw.position) * 0x9E3779B97F4A7C15u;
  if ((hash >> 40) % 25 == 0) return kTestEos;
  return 'a' + static_cast<int32_t>((hash >> 32) % 26);
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int64_t below(int64_t bound) { return static_cast<int64_t>(engine_() % bound); }
  bool one_in(int64_t count) { return below(count) == 0; }

 private:
  std::mt19937 engine_;
};

std::unique_ptr<TokenConstraint> random_constraint(Random& random) {
  std::vector<std::vector<int32_t>> allowed(static_cast<size_t>(random.below(30)));
  for (std::vector<int32_t>& tokens : allowed) {
    const int64_t count = random.one_in(40) ? 0 : 1 + random.below(12);  // none is an error
    for (int64_t i = 0; i < count; ++i) {
      tokens.push_back('a' + static_cast<int32_t>(random.below(26)));
    }
    if (random.one_in(6)) tokens.push_back(kTestEos);
  }
  return std::make_unique<TableConstraint>(std::move(allowed));
}

GenerateRequest random_request(Random& random) {
  GenerateRequest r = request(1 + random.below(300), random.below(30), random.below(1 << 30));
  r.choice = static_cast<uint32_t>(random.below(3));
  if (random.one_in(3)) r.stop = {"ab", "q", "xyz"};
  if (random.one_in(4)) r.stop_token_ids = {'e', 'z'};
  if (random.one_in(4)) r.min_tokens = random.below(r.max_tokens + 1);
  r.ignore_eos = random.one_in(4);
  r.include_stop = random.one_in(3);
  if (random.one_in(3)) r.sampling.repetition_penalty = 1.25f;
  if (random.one_in(3)) r.sampling.presence_penalty = 0.5f;
  if (random.one_in(3)) r.sampling.frequency_penalty = 0.25f;
  if (random.one_in(4)) r.sampling.logit_bias = {{'a', 2.0f}, {'m', -3.0f}};
  if (random.one_in(3)) r.constraint = random_constraint(random);
  if (random.one_in(3)) r.logprobs = static_cast<int32_t>(random.below(4));
  if (random.one_in(5)) r.prompt_logprobs = static_cast<int32_t>(random.below(3));
  r.priority = static_cast<int32_t>(random.below(3));
  return r;
}

struct Asked {
  GenerateRequest request;
  int num_choices = 1;
  int cancel_after = -1;  // see read_all(); for the first choice
};

std::vector<Asked> random_requests(uint32_t seed) {
  Random random(seed);
  std::vector<Asked> all(kRequests);
  for (Asked& asked : all) {
    asked.request = random_request(random);
    asked.num_choices = random.one_in(3) ? 1 + static_cast<int>(random.below(4)) : 1;
    if (random.one_in(8)) asked.cancel_after = static_cast<int>(random.below(4));
  }
  return all;
}

struct Conditions {
  int steps_ahead = 0;
  int num_slots = 6;
  int max_step_tokens = 512;
  size_t stream_capacity = 10000;
  std::chrono::microseconds forward{0}, draw{0}, mask_time{1000};
};

// Returns the streams of all choices, in the order of the requests; each is read by its own thread.
std::vector<TokenUpdate> run(const std::vector<Asked>& all, const Conditions& conditions) {
  FakeRunner runner(conditions.steps_ahead, 512, conditions.num_slots, next_token);
  runner.set_durations(conditions.forward, conditions.draw);
  EngineOptions some = options();
  some.max_step_tokens = conditions.max_step_tokens;
  some.stream_capacity = conditions.stream_capacity;
  some.mask_time = conditions.mask_time;
  Engine engine(&runner, &vocabulary(), some);
  std::vector<std::vector<Stream>> streams;
  size_t num_streams = 0;
  for (const Asked& asked : all) {
    auto submitted = engine.submit_choices(asked.request.clone(), asked.num_choices);
    EXPECT_TRUE(submitted.ok()) << submitted.status();
    num_streams += submitted->size();
    streams.push_back(*std::move(submitted));
  }
  std::vector<TokenUpdate> updates(num_streams);
  std::vector<std::thread> readers;
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t choice = 0; choice < streams[i].size(); ++choice) {
      const int cancel_after = choice == 0 ? all[i].cancel_after : -1;
      TokenUpdate* const update = &updates[readers.size()];
      readers.emplace_back([stream = std::move(streams[i][choice]), cancel_after, update] {
        *update = read_all(*stream, cancel_after);
      });
    }
  }
  for (std::thread& reader : readers) reader.join();
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.finished, static_cast<int64_t>(num_streams));
  EXPECT_EQ(stats.running, 0);
  return updates;
}

void expect_same(const std::vector<TokenLogprob>& a, const std::vector<TokenLogprob>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token, b[i].token);
    EXPECT_EQ(a[i].logprob, b[i].logprob);
    EXPECT_EQ(a[i].top, b[i].top);
  }
}

void expect_same(const TokenUpdate& update, const TokenUpdate& expected) {
  if (update.finish == FinishReason::kCancelled) {
    // The length of a cancelled stream depends on timing.
    EXPECT_TRUE(expected.text.starts_with(update.text));
    ASSERT_LE(update.tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(update.tokens.begin(), update.tokens.end(), expected.tokens.begin()));
    return;
  }
  EXPECT_EQ(update.text, expected.text);
  EXPECT_EQ(update.tokens, expected.tokens);
  EXPECT_EQ(update.finish, expected.finish);
  EXPECT_EQ(update.stop_string, expected.stop_string);
  EXPECT_EQ(update.stop_token, expected.stop_token);
  EXPECT_EQ(update.prompt_tokens_read, expected.prompt_tokens_read);
  EXPECT_EQ(update.tokens_generated, expected.tokens_generated);
  expect_same(update.logprobs, expected.logprobs);
  expect_same(update.prompt_logprobs, expected.prompt_logprobs);
}

class EngineModes : public testing::TestWithParam<uint32_t> {};

TEST_P(EngineModes, GiveTheSameStreams) {
  std::vector<Asked> all = random_requests(GetParam());
  std::vector<Asked> undisturbed = random_requests(GetParam());
  for (Asked& asked : undisturbed) asked.cancel_after = -1;
  const std::vector<TokenUpdate> expected = run(undisturbed, {});
  int finished[9] = {};
  for (const TokenUpdate& update : expected) ++finished[static_cast<size_t>(update.finish)];
  for (const FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kError}) {
    EXPECT_GT(finished[static_cast<size_t>(reason)], 0);
  }
  using std::chrono::microseconds;
  const Conditions conditions[] = {
      {0, 4, 100, 10000},
      {1},
      {1, 16, 200, 10000, microseconds(100), microseconds(20)},
      {1, 4, 512, 2, microseconds(20), microseconds(100), microseconds(0)},
      {1, 5, 64, 3, microseconds(0), microseconds(0), microseconds(20)},
  };
  for (const Conditions& some : conditions) {
    SCOPED_TRACE(&some - conditions);
    const std::vector<TokenUpdate> updates = run(all, some);
    ASSERT_EQ(updates.size(), expected.size());
    for (size_t i = 0; i < updates.size(); ++i) {
      SCOPED_TRACE(i);
      expect_same(updates[i], expected[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineModes, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace deltaserve
