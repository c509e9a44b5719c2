// Prompts that continue from kept states: what is computed, what is reused, and that nobody's
// answer changes.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/mixer/delta_rule.h"
#include "tests/engine/loop/engine_testing.h"

namespace deltaserve {
namespace {

class EngineReuse : public BothWays {
 protected:
  static FakeRunner::NextToken letters() { return FakeRunner::hashed_letter; }
};
DELTASERVE_BOTH_WAYS(EngineReuse);

TokenUpdate ask(Engine& engine, const GenerateRequest& request) {
  auto stream = engine.submit(request.clone());
  EXPECT_TRUE(stream.ok()) << stream.status();
  return read_all(**stream);
}

int64_t prefill_rows(const FakeRunner& runner) {
  int64_t rows = 0;
  for (const FakeRunner::Step& step : runner.steps()) {
    for (const Segment& segment : step.segments) {
      rows += segment.kind == RowKind::kPrefill ? segment.num_rows : 0;
    }
  }
  return rows;
}

TEST_P(EngineReuse, APromptContinuesFromWhereTheLastOneWasKept) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(1000, 5);
  const TokenUpdate cold = ask(engine, r);
  EXPECT_EQ(cold.prompt_tokens_reused, 0);
  EXPECT_EQ(prefill_rows(runner), 1000);
  const TokenUpdate warm = ask(engine, r);
  EXPECT_EQ(warm.prompt_tokens_reused, 960);
  EXPECT_EQ(warm.prompt_tokens_read, 1000);
  EXPECT_EQ(prefill_rows(runner), 1040);
  EXPECT_EQ(warm.text, cold.text);
  r.prompt.insert(r.prompt.end(), 200, 'x');
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 960);
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 1152);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.prefix_hits, 3);
  EXPECT_EQ(stats.prefix_misses_new, 1);
  EXPECT_EQ(stats.prefix_reused_tokens, 960 + 960 + 1152);
  EXPECT_EQ(stats.prompt_tokens, 1000 + 40 + 240 + 48);
  EXPECT_EQ(stats.prompt_tokens, prefill_rows(runner));
  EXPECT_GT(stats.snapshots, 2);
  EXPECT_EQ(stats.snapshot_slots, 8);
}

// Exactly the slots without a state give their memory back, once.
TEST_P(EngineReuse, TrimmedStatesLeaveTheMemory) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<TokenUpdate> cold;
  for (uint64_t seed = 0; seed < 6; ++seed) cold.push_back(ask(engine, request(100, 5, seed)));
  EXPECT_EQ(engine.stats().snapshots, 6);
  EXPECT_TRUE(runner.dropped().empty());
  engine.trim_prefixes();
  while (runner.dropped().size() < 5) std::this_thread::yield();
  const std::vector<int> dropped = runner.dropped();
  EXPECT_EQ(std::set<int>(dropped.begin(), dropped.end()).size(), 5u) << "8 slots, 3 states";
  int64_t reused = 0;
  for (uint64_t seed = 6; seed-- > 0;) {
    const TokenUpdate warm = ask(engine, request(100, 5, seed));
    EXPECT_EQ(warm.text, cold[seed].text);
    reused += warm.prompt_tokens_reused;
  }
  EXPECT_EQ(reused, 3 * 64);
  EXPECT_EQ(runner.dropped(), dropped);
}

TEST_P(EngineReuse, NothingIsKeptWithoutSlotsForIt) {
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  ask(engine, request(300, 1));
  EXPECT_EQ(ask(engine, request(300, 1)).prompt_tokens_reused, 0);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.prefix_hits + stats.prefix_misses(), 0);
}

TEST_P(EngineReuse, AStateComesBackFromTheHostsMemory) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 1);
  runner.have_host_slots(4);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<TokenUpdate> cold;
  for (uint64_t seed = 0; seed < 4; ++seed) cold.push_back(ask(engine, request(100, 5, seed)));
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const TokenUpdate warm = ask(engine, request(100, 5, seed));
    EXPECT_EQ(warm.prompt_tokens_reused, 64);
    EXPECT_EQ(warm.text, cold[seed].text);
  }
  const EngineStats stats = engine.stats();
  EXPECT_GE(stats.snapshots_stored, 3);
  EXPECT_GE(stats.snapshots_loaded, 3);
  EXPECT_EQ(stats.snapshots, 4);
  EXPECT_EQ(stats.host_snapshot_slots, 4);
  EXPECT_EQ(stats.snapshot_slots_in_use, 1);
}

TEST_P(EngineReuse, OthersDoNotWaitForAStateOnItsWay) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 1);
  runner.have_host_slots(4);
  runner.load_slowly();
  Engine engine(&runner, &vocabulary(), options());
  ask(engine, request(100, 5, 1));
  ask(engine, request(100, 5, 2));
  const size_t before = runner.steps().size();
  runner.hold();
  auto other = engine.submit(request(10, 50, 3));
  auto returning = engine.submit(request(100, 5, 1));
  ASSERT_TRUE(other.ok() && returning.ok());
  runner.release();
  EXPECT_EQ(read_all(**other).tokens.size(), 50u);
  // Once nobody else has work, it need not say that it is there.
  EXPECT_EQ(read_all(**returning).prompt_tokens_reused, 64);
  const auto steps = runner.steps();
  for (size_t i = before; i < steps.size(); ++i) {
    for (const Segment& segment : steps[i].segments) {
      const bool returns = segment.kind == RowKind::kPrefill && segment.position == 64;
      EXPECT_FALSE(returns && steps[i].segments.size() > 1);
    }
  }
}

TEST_P(EngineReuse, AStateBehindTheLastGridPointCostsNoStep) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 1);
  Engine engine(&runner, &vocabulary(), options());
  ask(engine, request(100, 1));
  EXPECT_EQ(runner.steps().size(), 1u);
  EXPECT_EQ(ask(engine, request(100, 1)).prompt_tokens_reused, 64);
}

TEST_P(EngineReuse, OwnersAndSaltsShareNothing) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(200, 1);
  r.reuse.owner = {1};
  ask(engine, r);
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 192);
  r.reuse.owner = {2};
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 0);
  r.reuse.salt = "s";
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 0);
  engine.clear_prefixes({2});
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 0);
  r.reuse = {};
  r.reuse.owner = {1};
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 192);
}

TEST_P(EngineReuse, ScoringAPromptReadsAllOfIt) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(200, 1);
  r.prompt_logprobs = 0;
  ask(engine, r);
  const TokenUpdate again = ask(engine, r);
  EXPECT_EQ(again.prompt_tokens_reused, 0);
  EXPECT_EQ(again.prompt_logprobs.size(), 199u);
  EXPECT_EQ(engine.stats().prefix_misses_bypassed, 2);
  r.prompt_logprobs = -1;
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 192) << "but leaves its states to others";
}

TEST_P(EngineReuse, WhereASecondPromptPartsAThirdBegins) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 32);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(3000, 1);
  ask(engine, r);
  r.prompt.resize(1000);
  r.prompt.insert(r.prompt.end(), 2000, 'x');
  ask(engine, r);
  r.prompt.resize(1000);
  r.prompt.insert(r.prompt.end(), 2000, 'y');
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 960);
}

TEST_P(EngineReuse, MarksAreKept) {
  FakeRunner runner(steps_ahead(), 512, 4, letters(), 32);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(3000, 1);
  r.reuse.marks = {{700, SnapshotKind::kMark}};
  ask(engine, r);
  r.prompt.resize(700);
  r.prompt.insert(r.prompt.end(), 100, 'x');
  EXPECT_EQ(ask(engine, r).prompt_tokens_reused, 640);
}

TEST_P(EngineReuse, MoreAnswersThanSlots) {
  std::vector<std::string> alone;
  for (uint32_t choice = 0; choice < 7; ++choice) {
    FakeRunner runner(0, 512, 1);
    Engine engine(&runner, &vocabulary(), options());
    GenerateRequest r = request(150, 9);
    r.choice = choice;
    alone.push_back(ask(engine, r).text);
  }
  for (const auto& [snapshots, shared] : {std::pair(0, true), {4, true}, {1, true}, {1, false}}) {
    FakeRunner runner(steps_ahead(), 512, 2, letters(), snapshots);
    EngineOptions sharing = options();
    sharing.share_prefixes = shared;
    Engine engine(&runner, &vocabulary(), sharing);
    auto streams = engine.submit_choices(request(150, 9), 7);
    ASSERT_TRUE(streams.ok());
    for (size_t i = 0; i < 7; ++i) {
      const TokenUpdate answer = read_all(*(*streams)[i]);
      EXPECT_EQ(answer.text, alone[i]) << i;
      EXPECT_EQ(answer.prompt_tokens_read, 150);
    }
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.prompt_tokens, 150) << "the prompt counts once";
    EXPECT_EQ(stats.finished, 7);
    EXPECT_EQ(stats.waiting + stats.running, 0);
    EXPECT_EQ(stats.prefix_replayed_tokens, 5 * (snapshots > 0 ? 22 : 150));
    EXPECT_EQ(prefill_rows(runner), 150 + stats.prefix_replayed_tokens);
  }
}

// If prompts share nothing, the state of a prompt is kept until its last answer has begun, and
// nobody else finds it.
TEST_P(EngineReuse, WithoutSharingAPromptForManyAnswersIsReadOnce) {
  FakeRunner runner(steps_ahead(), 512, 2, letters(), 1);
  EngineOptions alone = options();
  alone.share_prefixes = false;
  Engine engine(&runner, &vocabulary(), alone);
  for (int round = 1; round <= 3; ++round) {
    auto streams = engine.submit_choices(request(1000, 3), 9);
    ASSERT_TRUE(streams.ok());
    for (const Stream& stream : *streams) EXPECT_EQ(read_all(*stream).prompt_tokens_reused, 0);
    EXPECT_EQ(prefill_rows(runner), round * (1000 + 7 * 40));
  }
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.prefix_hits + stats.prefix_misses(), 0);
  EXPECT_EQ(stats.snapshots + stats.snapshot_slots, 0);
}

// A state that is worth more than any other makes room for the prompt of a request whose answers
// wait.
TEST_P(EngineReuse, ThePromptOfWaitingAnswersIsKeptBeforeAnyOther) {
  FakeRunner runner(steps_ahead(), 512, 1, letters(), 1);
  Engine engine(&runner, &vocabulary(), options());
  for (int i = 0; i < 10; ++i) ask(engine, request(5000, 1));
  const int64_t before = prefill_rows(runner);
  auto streams = engine.submit_choices(request(100, 3, 1), 3);
  ASSERT_TRUE(streams.ok());
  for (const Stream& stream : *streams) read_all(*stream);
  EXPECT_EQ(prefill_rows(runner) - before, 100 + 2 * 36);
}

// One stream that never ends and a request for many answers leave no slot idle: others are admitted
// while the many wait.
TEST_P(EngineReuse, ManyAnswersKeepNoSlotsFromOthers) {
  FakeRunner runner(steps_ahead(), 512, 3, letters(), 4);
  Engine engine(&runner, &vocabulary(), options());
  auto endless = engine.submit(request(10, int64_t{1} << 40));
  ASSERT_TRUE(endless.ok());
  auto many = engine.submit_choices(request(100, 20), 16);
  ASSERT_TRUE(many.ok());
  GenerateRequest urgent = request(5, 3, 1);
  urgent.priority = -1;
  EXPECT_EQ(ask(engine, urgent).tokens.size(), 3u);
  for (const Stream& stream : *many) EXPECT_EQ(read_all(*stream).tokens.size(), 20u);
  (*endless)->cancel();
}

TEST_P(EngineReuse, AReadAheadPreparesWhatComesNext) {
  FakeRunner runner(steps_ahead(), 512, 2, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(500, 0);
  r.reuse.read_ahead = true;
  EXPECT_EQ(ask(engine, r).finish, FinishReason::kLength);
  for (const FakeRunner::Step& step : runner.steps()) {
    for (const Segment& segment : step.segments) EXPECT_LE(segment.num_rows, kChunkTokens);
  }
  EXPECT_EQ(ask(engine, request(700, 1)).prompt_tokens_reused, 448);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.read_ahead_tokens, 500);
  EXPECT_EQ(stats.prompt_tokens, 252);
  EXPECT_EQ(stats.finished, 1);
  r.max_tokens = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit(r.clone()).status()));
}

TEST_P(EngineReuse, AReadAheadGivesUpItsSlot) {
  FakeRunner runner(steps_ahead(), 512, 1, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest ahead = request(100'000, 0);
  ahead.reuse.read_ahead = true;
  runner.hold();
  auto stream = engine.submit(ahead.clone());
  ASSERT_TRUE(stream.ok());
  runner.wait_until_held();
  auto urgent = engine.submit(request(10, 5));
  runner.release();
  EXPECT_EQ(read_all(**urgent).tokens.size(), 5u);
  EXPECT_EQ(read_all(**stream).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine.stats().read_aheads_dropped, 1);
  EXPECT_EQ(engine.stats().finished, 1);
}

TEST_P(EngineReuse, ReadAheadsEndWhenTheEngineDrains) {
  FakeRunner runner(steps_ahead(), 512, 1, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest ahead = request(10'000, 0);
  ahead.reuse.read_ahead = true;
  runner.hold();
  auto first = engine.submit(ahead.clone());
  auto second = engine.submit(ahead.clone());
  runner.wait_until_held();
  engine.drain();
  runner.release();
  EXPECT_EQ(read_all(**first).finish, FinishReason::kCancelled);
  EXPECT_EQ(read_all(**second).finish, FinishReason::kCancelled);
}

// Otherwise they would keep states again that their owner wants to be forgotten.
TEST_P(EngineReuse, ReadAheadsEndWhenTheirOwnersStatesAreForgotten) {
  FakeRunner runner(steps_ahead(), 512, 1, letters(), 8);
  Engine engine(&runner, &vocabulary(), options());
  const auto ahead = [&](uint8_t owner, uint64_t seed) {
    GenerateRequest r = request(300, 0, seed);
    r.reuse.read_ahead = true;
    r.reuse.owner = {owner};
    return *engine.submit(std::move(r));
  };
  const auto reused = [&](uint8_t owner, uint64_t seed) {
    GenerateRequest r = request(300, 1, seed);
    r.reuse.owner = {owner};
    return ask(engine, r).prompt_tokens_reused;
  };
  runner.hold();
  const Stream running = ahead(1, 1);
  const Stream kept = ahead(2, 2), waiting = ahead(1, 3);
  runner.wait_until_held();
  engine.clear_prefixes({1});
  runner.release();
  EXPECT_EQ(read_all(*running).finish, FinishReason::kCancelled);
  EXPECT_EQ(read_all(*waiting).finish, FinishReason::kCancelled);
  EXPECT_EQ(read_all(*kept).finish, FinishReason::kLength);
  EXPECT_EQ(reused(1, 1), 0);
  EXPECT_EQ(reused(1, 3), 0);
  EXPECT_EQ(reused(2, 2), 256);
}

// Requests that grow, branch, change and repeat, with few slots to keep states in, several at once:
// every answer is that of a cold engine, and what is reused and what is computed add up.
TEST_P(EngineReuse, RandomHistoriesGetTheAnswersOfAColdEngine) {
  std::mt19937 random(11);
  FakeRunner cold_runner(0, 512, 1);
  Engine cold(&cold_runner, &vocabulary(), options());
  FakeRunner runner(steps_ahead(), 256, 3, letters(), 6);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<std::vector<int32_t>> prompts = {request(300, 0).prompt};
  int64_t tokens = 0;
  int64_t reused = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<GenerateRequest> requests;
    std::vector<std::vector<Stream>> streams;
    for (int i = 0; i < 4; ++i) {
      std::vector<int32_t> prompt = prompts[random() % prompts.size()];
      if (random() % 3 == 0) prompt.resize(1 + random() % prompt.size());
      for (auto more = random() % 200; more > 0; --more) {
        prompt.push_back(static_cast<int32_t>(random() % 256));
      }
      prompts.push_back(prompt);
      GenerateRequest r = request(1, static_cast<int64_t>(random() % 6), random() % 3);
      r.prompt = prompt;
      r.sampling.repetition_penalty = random() % 2 == 0 ? 1.0f : 1.5f;
      if (random() % 4 == 0) r.reuse.salt = "salt";
      if (random() % 8 == 0) r.prompt_logprobs = 0;
      r.reuse.marks = {{static_cast<int64_t>(random() % prompt.size()), SnapshotKind::kMark}};
      const int n = random() % 4 == 0 ? 5 : 1;
      streams.push_back(*engine.submit_choices(r.clone(), n));
      if (random() % 6 == 0) streams.back()[0]->cancel();
      requests.push_back(std::move(r));
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      for (size_t choice = 0; choice < streams[i].size(); ++choice) {
        const TokenUpdate answer = read_all(*streams[i][choice]);
        if (answer.finish == FinishReason::kCancelled) continue;
        GenerateRequest r = requests[i].clone();
        r.choice = static_cast<uint32_t>(choice);
        const TokenUpdate alone = ask(cold, r);
        ASSERT_EQ(answer.text, alone.text);
        ASSERT_EQ(answer.prompt_logprobs.size(), alone.prompt_logprobs.size());
        ASSERT_EQ(answer.prompt_tokens_read, static_cast<int64_t>(r.prompt.size()));
        ASSERT_LT(answer.prompt_tokens_reused, static_cast<int64_t>(r.prompt.size()));
        if (r.prompt_logprobs >= 0) {
          ASSERT_EQ(answer.prompt_tokens_reused, 0);
        }
        if (choice > 0) continue;
        tokens += answer.prompt_tokens_read;
        reused += answer.prompt_tokens_reused;
      }
    }
    if (prompts.size() > 20) prompts.erase(prompts.begin(), prompts.begin() + 10);
  }
  EXPECT_GT(reused, tokens / 8);
  EXPECT_GT(engine.stats().prefix_evictions, 10);
}

}  // namespace
}  // namespace deltaserve
