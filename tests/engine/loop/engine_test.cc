#include "engine/loop/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/limits.h"
#include "engine/sequence/token_constraint.h"
#include "tests/engine/loop/engine_testing.h"
#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

TokenUpdate run(Engine& engine, const GenerateRequest& r) {
  const auto stream = engine.submit(r.clone());
  EXPECT_TRUE(stream.ok()) << stream.status();
  return read_all(**stream);
}

// Polls for a condition that the engine reports to nobody.
template <typename Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

class EngineTest : public BothWays {};
DELTASERVE_BOTH_WAYS(EngineTest);

TEST_P(EngineTest, GeneratesWhatTheRunnerDraws) {
  FakeRunner runner(steps_ahead(), 512, 4, FakeRunner::script("hello", 3));
  Engine engine(&runner, &vocabulary(), options());
  const TokenUpdate update = run(engine, request(3, 100));
  EXPECT_EQ(update.text, "hello");
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_EQ(update.tokens_generated, 6);  // EOS too
  EXPECT_EQ(update.prompt_tokens_read, 3);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.finished, 1);
  EXPECT_EQ(stats.cancelled, 0);
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.prompt_tokens, 3);
  EXPECT_EQ(stats.generated_tokens, 6);
  EXPECT_EQ(stats.steps, 6);
  EXPECT_EQ(stats.slots, 4);
}

// Allows letters; every mask takes longer than a step may spend on masks.
class SlowConstraint final : public TokenConstraint {
 public:
  void allowed(std::span<uint32_t> words) const override {
    std::this_thread::sleep_for(2 * engine_limits::kMaskTime);
    std::fill(words.begin(), words.end(), 0);
    for (int32_t letter = 'a'; letter <= 'z'; ++letter) words[letter / 32] |= 1u << (letter % 32);
  }
  void accept(int32_t) override {}
  bool finished() const override { return false; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<SlowConstraint>();
  }
};

// A step waits for one slow mask, not for all; sequences take turns, and unconstrained ones never
// wait.
TEST_P(EngineTest, SlowConstraintsShareTheStepsTime) {
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<Stream> streams;
  runner.hold();
  streams.push_back(*engine.submit(request(3, 60)));
  runner.wait_until_held();
  for (uint64_t i = 0; i < 3; ++i) {
    GenerateRequest constrained = request(3, 11, i);
    constrained.constraint = std::make_unique<SlowConstraint>();
    streams.push_back(*engine.submit(std::move(constrained)));
  }
  runner.release();
  for (const Stream& stream : streams) read_all(*stream);
  int tokens[4] = {};  // fed back, by slot
  for (const FakeRunner::Step& step : runner.steps()) {
    int constrained = 0;
    for (int i = 0; i < step.num_decode; ++i) {
      const int slot = step.segments[i].write_slot;
      ++tokens[slot];
      constrained += slot > 0;
    }
    EXPECT_LE(constrained, 1);
    EXPECT_LE(std::max({tokens[1], tokens[2], tokens[3]}),
              std::min({tokens[1], tokens[2], tokens[3]}) + 1);
    const bool plain_runs = tokens[0] > 0 && tokens[0] < 59;
    EXPECT_GE(step.num_decode, constrained + (plain_runs ? 1 : 0));
  }
  EXPECT_EQ(tokens[0], 59);
  for (int slot = 1; slot < 4; ++slot) EXPECT_EQ(tokens[slot], 10);
}

TEST_P(EngineTest, ASlowConstraintWithoutAReaderDelaysNobody) {
  FakeRunner runner(steps_ahead(), 512, 2);
  EngineOptions small = options();
  small.stream_capacity = 2;
  Engine engine(&runner, &vocabulary(), small);
  std::vector<Stream> streams;
  for (uint64_t i = 0; i < 2; ++i) {
    GenerateRequest constrained = request(3, i == 0 ? 1000 : 20, i);
    constrained.constraint = std::make_unique<SlowConstraint>();
    streams.push_back(*engine.submit(std::move(constrained)));
  }
  EXPECT_EQ(read_all(*streams[1]).tokens_generated, 20);
  EXPECT_LT(engine.stats().generated_tokens, 40);
}

TEST_P(EngineTest, StopStringsAcrossTokens) {
  FakeRunner runner(steps_ahead(), 512, 1, FakeRunner::script("one\n\nUser: two", 5));
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(5, 100);
  r.stop = {"\n\nUser:"};
  const TokenUpdate update = run(engine, r);
  EXPECT_EQ(update.text, "one");
  EXPECT_EQ(update.stop_string, "\n\nUser:");
  EXPECT_EQ(update.finish, FinishReason::kStop);
}

TEST_P(EngineTest, NeighboursDoNotChangeTokens) {
  std::vector<GenerateRequest> requests;
  for (const int64_t n : {1, 63, 64, 65, 100, 128, 200, 513, 1000, 3000, 2, 70, 640, 700}) {
    requests.push_back(request(n, 20 + n % 30, static_cast<uint64_t>(n)));
  }
  std::vector<TokenUpdate> alone;
  for (const GenerateRequest& r : requests) {
    FakeRunner runner(0, 512, 1);
    Engine engine(&runner, &vocabulary(), options());
    alone.push_back(run(engine, r));
  }
  for (const int step_tokens : {64, 200, 512}) {
    FakeRunner runner(steps_ahead(), 512, 5);
    EngineOptions small = options();
    small.max_step_tokens = step_tokens;
    Engine engine(&runner, &vocabulary(), small);
    std::vector<Stream> streams;
    for (const GenerateRequest& r : requests) streams.push_back(*engine.submit(r.clone()));
    for (size_t i = 0; i < streams.size(); ++i) {
      const TokenUpdate together = read_all(*streams[i]);
      EXPECT_EQ(together.tokens, alone[i].tokens);
      EXPECT_EQ(together.text, alone[i].text);
      EXPECT_EQ(together.finish, FinishReason::kLength);
    }
  }
}

TEST_P(EngineTest, ALongPromptStallsNobody) {
  FakeRunner runner(steps_ahead(), 512, 4);
  EngineOptions roomy = options();
  roomy.stream_capacity = 1000;  // nobody pauses while this test reads someone else
  Engine engine(&runner, &vocabulary(), roomy);
  runner.hold();
  const Stream decoding = *engine.submit(request(10, 300, 1));
  runner.wait_until_held();
  const Stream big = *engine.submit(request(30000, 1, 2));
  const Stream small = *engine.submit(request(100, 1, 3));
  runner.release();
  for (const Stream& stream : {small, big, decoding}) {
    EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  }

  // One token came with the prompt's last row; the others came from steps in immediate succession.
  const auto steps = runner.steps();
  int with_prompt = 0;
  ASSERT_GE(steps.size(), 300u);
  for (size_t i = 1; i < 300; ++i) {
    ASSERT_EQ(steps[i].num_decode, 1) << i;
    ASSERT_EQ(steps[i].segments[0].position, static_cast<int64_t>(9 + i));
    with_prompt += steps[i].segments.size() > 1 ? 1 : 0;
  }
  EXPECT_GE(with_prompt, 30000 / 512);
}

TEST_P(EngineTest, AShortPromptOvertakesALongOne) {
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream big = *engine.submit(request(20000, 1, 1));
  runner.wait_until_held();  // its first piece is under way
  const Stream small = *engine.submit(request(100, 1, 2));
  runner.release();
  read_all(*small);
  read_all(*big);
  const auto steps = runner.steps();
  const auto& next = steps[1 + steps_ahead()];  // that was not queued yet
  ASSERT_EQ(next.segments.size(), 2u);
  EXPECT_EQ(next.segments[1].num_rows, 100);  // whole
  EXPECT_GE(next.segments[0].num_rows, 256);
}

TEST_P(EngineTest, AdmitsInOrder) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  std::vector<Stream> streams;
  for (int i = 1; i <= 5; ++i) streams.push_back(*engine.submit(request(i, 1)));
  runner.release();
  for (const Stream& stream : streams) read_all(*stream);
  const auto steps = runner.steps();
  ASSERT_EQ(steps.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(steps[i].segments[0].num_rows, i + 1);
}

TEST_P(EngineTest, QueueLimit) {
  FakeRunner runner(steps_ahead(), 512, 2);
  EngineOptions limited = options();
  limited.max_queued_requests = 3;
  Engine engine(&runner, &vocabulary(), limited);
  runner.hold();
  std::vector<Stream> streams;
  for (int i = 0; i < 5; ++i) {  // two slots and three in the queue, however fast they come
    const auto stream = engine.submit(request(4, 2));
    ASSERT_TRUE(stream.ok()) << i;
    streams.push_back(*stream);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(engine.submit(request(4, 2)).status()));
  runner.release();
  for (const Stream& stream : streams) read_all(*stream);
  EXPECT_TRUE(engine.submit(request(4, 2)).ok());
}

TEST_P(EngineTest, RefusesBadRequests) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions limited = options();
  limited.max_prompt_tokens = 10;
  Engine engine(&runner, &vocabulary(), limited);
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit(request(0, 1)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit(request(11, 1)).status()));
  GenerateRequest outside = request(1, 1);
  outside.prompt = {kTestVocabSize};
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit(outside.clone()).status()));
  EXPECT_EQ(engine.stats().finished, 0);

  const Vocabulary none;
  Engine mute(&runner, &none, limited);
  GenerateRequest stop = request(1, 1);
  stop.stop = {"x"};
  EXPECT_TRUE(absl::IsInvalidArgument(mute.submit(stop.clone()).status()));
  const TokenUpdate update = run(mute, request(1, 4));
  EXPECT_EQ(update.text, "");
  EXPECT_EQ(update.tokens.size(), 4u);
}

TEST_P(EngineTest, ReadsAPromptOnly) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(1000, 0);
  r.prompt_logprobs = 2;
  const TokenUpdate update = run(engine, r);
  EXPECT_EQ(update.finish, FinishReason::kLength);
  EXPECT_TRUE(update.tokens.empty());
  EXPECT_EQ(update.tokens_generated, 0);
  EXPECT_EQ(update.prompt_tokens_read, 1000);
  ASSERT_EQ(update.prompt_logprobs.size(), 999u);
  for (size_t i = 0; i < 999; ++i) {
    const TokenLogprob& logprob = update.prompt_logprobs[i];
    EXPECT_EQ(logprob.token, r.prompt[i + 1]);
    EXPECT_EQ(logprob.logprob, -static_cast<float>(r.prompt[i + 1]));
    EXPECT_EQ(logprob.top.size(), 2u);
  }
  r.prompt_logprobs = -1;  // not even that
  EXPECT_EQ(run(engine, r).prompt_tokens_read, 1000);
  EXPECT_EQ(engine.stats().running, 0);
}

TEST_P(EngineTest, PromptLogprobsAndTokensTogether) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(130, 5);
  r.prompt_logprobs = 0;
  r.logprobs = 3;
  const TokenUpdate update = run(engine, r);
  EXPECT_EQ(update.prompt_logprobs.size(), 129u);
  EXPECT_TRUE(update.prompt_logprobs[0].top.empty());
  ASSERT_EQ(update.logprobs.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(update.logprobs[i].token, update.tokens[i]);
    EXPECT_EQ(update.logprobs[i].top.size(), 3u);
  }
}

TEST_P(EngineTest, AFullStreamPausesOnlyItself) {
  const GenerateRequest slow = request(10, 100, 1), fast = request(10, 200, 2);
  std::vector<int32_t> alone;
  {
    FakeRunner runner(0, 512, 2);
    Engine engine(&runner, &vocabulary(), options());
    alone = run(engine, slow).tokens;
  }
  FakeRunner runner(steps_ahead(), 512, 2);
  EngineOptions small = options();
  small.stream_capacity = 4;
  Engine engine(&runner, &vocabulary(), small);
  const Stream lagging = *engine.submit(slow.clone());
  EXPECT_EQ(read_all(**engine.submit(fast.clone())).tokens.size(), 200u);
  EXPECT_EQ(engine.stats().running, 1);
  // The engine sleeps now, with a sequence that has a slot; reading wakes it.
  TokenUpdate update = *lagging->take();
  EXPECT_LE(update.tokens.size(), 4u + steps_ahead());
  EXPECT_EQ(update.finish, FinishReason::kNone);
  std::vector<int32_t> tokens = update.tokens;
  while (auto next = lagging->wait()) {
    tokens.insert(tokens.end(), next->tokens.begin(), next->tokens.end());
  }
  EXPECT_EQ(tokens, alone);
}

TEST_P(EngineTest, AFullStreamCanBeCancelled) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions small = options();
  small.stream_capacity = 2;
  Engine engine(&runner, &vocabulary(), small);
  const Stream stream = *engine.submit(request(10, 100));
  ASSERT_TRUE(eventually([&] { return stream->full(); }));
  stream->cancel();
  EXPECT_EQ(run(engine, request(5, 1)).finish, FinishReason::kLength);  // the slot is free
  EXPECT_EQ(read_all(*stream).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine.stats().cancelled, 1);
}

// The reader of the first request takes nothing. Its slot is its own until somebody waits for it.
TEST_P(EngineTest, AnUnreadStreamEndsWhenOthersWait) {
  FakeRunner runner(steps_ahead(), 512, 2);
  EngineOptions strict = options();
  strict.stream_capacity = 2;
  strict.unread = std::chrono::seconds(1);
  Engine engine(&runner, &vocabulary(), strict);
  const Stream unread = *engine.submit(request(10, 100));
  ASSERT_TRUE(eventually([&] { return unread->full(); }));
  EXPECT_EQ(run(engine, request(5, 3)).finish, FinishReason::kLength);  // in the other slot
  const Stream busy = *engine.submit(request(20, 1 << 20));
  const Stream waiting = *engine.submit(request(5, 1));
  TokenUpdate last;
  while (engine.stats().unread == 0) {
    if (std::optional<TokenUpdate> update = busy->take()) last = *std::move(update);
  }
  EXPECT_EQ(read_all(*waiting).finish, FinishReason::kLength);
  EXPECT_EQ(read_all(*unread).finish, FinishReason::kUnread);
  EXPECT_EQ(last.finish, FinishReason::kNone);  // who reads goes on
  busy->cancel();
}

TEST_P(EngineTest, CancelFreesTheSlotWithinAStep) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream first = *engine.submit(request(10, 1000, 1));
  runner.wait_until_held();
  const Stream second = *engine.submit(request(20, 1, 2));
  first->cancel();
  runner.release();
  EXPECT_EQ(read_all(*second).finish, FinishReason::kLength);
  EXPECT_EQ(read_all(*first).finish, FinishReason::kCancelled);
  EXPECT_EQ(runner.steps().size(), 2u + steps_ahead());
}

TEST_P(EngineTest, CancelsWhatWaits) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream running = *engine.submit(request(10, 2));
  runner.wait_until_held();
  const Stream waiting = *engine.submit(request(20, 1));
  const Stream kept = *engine.submit(request(30, 1));
  waiting->cancel();
  runner.release();
  const TokenUpdate update = read_all(*waiting);
  EXPECT_EQ(update.finish, FinishReason::kCancelled);
  EXPECT_EQ(update.prompt_tokens_read, 0);
  EXPECT_EQ(read_all(*running).finish, FinishReason::kLength);
  EXPECT_EQ(read_all(*kept).finish, FinishReason::kLength);
  for (const auto& step : runner.steps()) EXPECT_NE(step.segments[0].num_rows, 20);
}

TEST_P(EngineTest, AReaderWhoLeavesCancels) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  { const Stream gone = *engine.submit(request(10, int64_t{1} << 40)); }
  EXPECT_EQ(run(engine, request(5, 1)).finish, FinishReason::kLength);
  EXPECT_EQ(engine.stats().cancelled, 1);
}

TEST_P(EngineTest, AReaderMayOutliveTheEngine) {
  Stream stream;
  {
    FakeRunner runner(steps_ahead(), 512, 1);
    Engine engine(&runner, &vocabulary(), options());
    stream = *engine.submit(request(10, int64_t{1} << 40));
  }
  EXPECT_EQ(read_all(*stream).finish, FinishReason::kCancelled);
  stream->cancel();
}

TEST_P(EngineTest, NotifyComesBeforeEveryTake) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  const auto doorbell = std::make_shared<Doorbell>();  // the last ring may outlast the last take
  const Stream stream = *engine.submit(request(10, 50), [doorbell] { doorbell->ring(); });
  size_t tokens = 0;
  for (bool finished = false; !finished;) {
    doorbell->wait();
    while (auto update = stream->take()) {
      tokens += update->tokens.size();
      finished = update->finish != FinishReason::kNone;
    }
  }
  EXPECT_EQ(tokens, 50u);
}

TEST_P(EngineTest, DrainFinishesWhatIsThere) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  EXPECT_FALSE(engine.drained());
  runner.hold();
  const Stream running = *engine.submit(request(10, 5));
  const Stream waiting = *engine.submit(request(10, 5));
  engine.drain();
  EXPECT_TRUE(absl::IsUnavailable(engine.submit(request(1, 1)).status()));
  EXPECT_FALSE(engine.drained());
  runner.release();
  EXPECT_EQ(read_all(*running).finish, FinishReason::kLength);
  EXPECT_EQ(read_all(*waiting).finish, FinishReason::kLength);
  EXPECT_TRUE(eventually([&] { return engine.drained(); }));
}

TEST_P(EngineTest, DrainOfAnIdleEngine) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  engine.drain();
  EXPECT_TRUE(eventually([&] { return engine.drained(); }));
}

TEST_P(EngineTest, StopCancelsEverything) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<Stream> streams;
  for (int i = 0; i < 6; ++i) streams.push_back(*engine.submit(request(10, int64_t{1} << 40)));
  engine.stop();
  engine.stop();
  for (const Stream& stream : streams) {
    EXPECT_EQ(read_all(*stream).finish, FinishReason::kCancelled);
  }
  EXPECT_TRUE(absl::IsUnavailable(engine.submit(request(1, 1)).status()));
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.cancelled, 6);
}

TEST(EngineDeathTest, TheRunnerHoldsAChunkBesideEveryStream) {
  FakeRunner runner(0, 67, 4);
  EXPECT_DEATH(Engine(&runner, &vocabulary(), options()), "invariant broken");
}

}  // namespace
}  // namespace deltaserve
