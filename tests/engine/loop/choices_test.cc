// Tests of the engine with several choices of a request, priorities, deadlines and constraints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loop/engine.h"
#include "tests/engine/loop/engine_testing.h"
#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

std::vector<Stream> submit(Engine& engine, const GenerateRequest& r, int num_choices) {
  auto streams = engine.submit_choices(r.clone(), num_choices);
  EXPECT_TRUE(streams.ok()) << streams.status();
  return streams.ok() ? *std::move(streams) : std::vector<Stream>();
}

// Runs a request for one choice alone, on a runner that never runs ahead.
TokenUpdate run_alone(const GenerateRequest& r, uint32_t choice) {
  FakeRunner runner(0, 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest alone = r.clone();
  alone.choice = choice;
  return read_all(**engine.submit(std::move(alone)));
}

void expect_same(const TokenUpdate& a, const TokenUpdate& b) {
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.logprobs.size(), b.logprobs.size());
  EXPECT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
  EXPECT_EQ(a.prompt_tokens_read, b.prompt_tokens_read);
  EXPECT_EQ(a.tokens_generated, b.tokens_generated);
}

bool eventually_full(const TokenStream& stream) {
  for (int i = 0; i < 10000 && !stream.full(); ++i) std::this_thread::sleep_for(milliseconds(1));
  return stream.full();
}

// Submits with a deadline that passes soon after. On a slow machine it may pass before the engine
// sees the request; then a later one is tried. `deadline` receives it.
Stream submit_late(Engine& engine, const GenerateRequest& r, SteadyTime* deadline = nullptr) {
  for (milliseconds delay(20);; delay *= 2) {
    GenerateRequest late = r.clone();
    late.deadline = now() + delay;
    if (deadline != nullptr) *deadline = late.deadline;
    auto stream = engine.submit(std::move(late));
    if (stream.ok()) return *std::move(stream);
    EXPECT_TRUE(absl::IsDeadlineExceeded(stream.status())) << stream.status();
  }
}

class ChoicesTest : public BothWays {};
DELTASERVE_BOTH_WAYS(ChoicesTest);

TEST_P(ChoicesTest, EachIsWhatItWouldBeAlone) {
  for (const int64_t prompt : {1, 64, 65, 700}) {
    GenerateRequest r = request(prompt, 30, 9);
    r.choice = 3;
    r.logprobs = 1;
    r.prompt_logprobs = 0;
    FakeRunner runner(steps_ahead(), 512, 8);
    Engine engine(&runner, &vocabulary(), options());
    const Stream neighbour = *engine.submit(request(300, 50, 5));
    const std::vector<Stream> streams = submit(engine, r, 5);
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < 5; ++i) {
      const TokenUpdate update = read_all(*streams[i]);
      expect_same(update, run_alone(r, 3 + i));
      texts.push_back(update.text);
    }
    EXPECT_NE(texts[0], texts[1]);
    read_all(*neighbour);
    EXPECT_EQ(runner.num_copies(), 4);
  }
}

TEST_P(ChoicesTest, ThePromptIsReadOnce) {
  FakeRunner runner(steps_ahead(), 512, 8);
  Engine engine(&runner, &vocabulary(), options());
  for (const Stream& stream : submit(engine, request(1000, 2), 8)) read_all(*stream);
  EngineStats stats = engine.stats();
  EXPECT_EQ(stats.prompt_tokens, 1000);
  EXPECT_EQ(stats.decode_rows, 8);
  EXPECT_EQ(stats.generated_tokens, 16);
  EXPECT_EQ(stats.finished, 8);
  EXPECT_EQ(stats.finished_length, 8);
  EXPECT_EQ(stats.steps, 4);
  EXPECT_GT(stats.busy_seconds, 0);
}

// A step may ask for no more results than it may have rows; this request would need more.
TEST_P(ChoicesTest, ManyDrawsBesidePromptLogprobs) {
  FakeRunner runner(steps_ahead(), 128 + 64, 128);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(1000, 3);
  r.prompt_logprobs = 0;
  const TokenUpdate alone = run_alone(r, 100);
  const std::vector<Stream> streams = submit(engine, r, 128);
  for (size_t i = 0; i < streams.size(); ++i) {
    const TokenUpdate update = read_all(*streams[i]);
    EXPECT_EQ(update.prompt_logprobs.size(), 999u);
    if (i == 100) expect_same(update, alone);
  }
}

TEST_P(ChoicesTest, RefusesMoreThanItCanServe) {
  FakeRunner runner(steps_ahead(), 512, 4);
  EngineOptions limited = options();
  limited.max_queued_requests = 2;
  Engine engine(&runner, &vocabulary(), limited);
  for (const int n : {0, -1, 7, 129}) {
    const absl::Status status = engine.submit_choices(request(1, 1), n).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << n;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("n is " + std::to_string(n)));
  }
  runner.hold();
  const std::vector<Stream> running = submit(engine, request(5, 1), 4);
  const std::vector<Stream> waiting = submit(engine, request(5, 1), 2);
  EXPECT_TRUE(absl::IsResourceExhausted(engine.submit(request(1, 1)).status()));
  runner.wait_until_held();
  EXPECT_EQ(engine.stats().waiting + engine.stats().running, 6);
  runner.release();
  for (const auto& streams : {running, waiting}) {
    for (const Stream& stream : streams) read_all(*stream);
  }
}

// The group reads its prompt in the only free slot; its second choice gets the next one, before a
// request that came later.
TEST_P(ChoicesTest, ChoicesAreAdmittedOneByOne) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream first = *engine.submit(request(10, 30));
  runner.wait_until_held();
  const std::vector<Stream> group = submit(engine, request(20, 1), 2);
  const Stream last = *engine.submit(request(30, 1));
  runner.release();
  read_all(*last);
  read_all(*first);
  for (const Stream& stream : group) read_all(*stream);
  std::vector<int> prompts;
  for (const FakeRunner::Step& step : runner.steps()) {
    for (const Segment& segment : step.segments) {
      if (segment.kind == RowKind::kPrefill) prompts.push_back(segment.num_rows);
    }
  }
  EXPECT_EQ(prompts, (std::vector<int>{10, 20, 20, 30}));
}

// Strangers wait for answers beyond the number of slots only at every fourth admission, which is
// that of whoever came first.
TEST_P(ChoicesTest, MoreChoicesThanSlotsLetOthersPass) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream endless = *engine.submit(request(10, int64_t{1} << 40));
  runner.wait_until_held();
  std::vector<Stream> streams = submit(engine, request(20, 1), 6);
  for (int64_t prompt = 30; prompt < 35; ++prompt) {
    streams.push_back(*engine.submit(request(prompt, 1)));
  }
  GenerateRequest later = request(40, 1);
  later.priority = 1;
  streams.push_back(*engine.submit(std::move(later)));
  runner.release();
  for (const Stream& stream : streams) read_all(*stream);
  endless->cancel();
  std::vector<int> prompts;
  for (const FakeRunner::Step& step : runner.steps()) {
    for (const Segment& segment : step.segments) {
      if (segment.kind == RowKind::kPrefill) prompts.push_back(segment.num_rows);
    }
  }
  EXPECT_EQ(prompts, (std::vector<int>{10, 20, 20, 20, 30, 31, 32, 20, 33, 34, 20, 20, 40}));
}

TEST_P(ChoicesTest, CancelDuringPrefillHarmsNobody) {
  const GenerateRequest r = request(2000, 20, 4);
  for (uint32_t cancelled = 0; cancelled < 3; ++cancelled) {
    FakeRunner runner(steps_ahead(), 512, 3);
    Engine engine(&runner, &vocabulary(), options());
    runner.hold();
    const std::vector<Stream> streams = submit(engine, r, 3);
    runner.wait_until_held();
    const Stream next = *engine.submit(request(7, 1));  // gets the slot in the next step
    streams[cancelled]->cancel();
    runner.release();
    EXPECT_EQ(read_all(*next).finish, FinishReason::kLength);
    EXPECT_EQ(runner.steps()[1 + steps_ahead()].segments.size(), 2u);
    for (uint32_t i = 0; i < 3; ++i) {
      const TokenUpdate update = read_all(*streams[i]);
      if (i == cancelled) {
        EXPECT_EQ(update.finish, FinishReason::kCancelled);
      } else {
        expect_same(update, run_alone(r, i));
      }
    }
    EXPECT_EQ(runner.num_copies(), 1);
  }
}

TEST_P(ChoicesTest, CancelWhileDecodingHarmsNobody) {
  const GenerateRequest r = request(100, 40, 4);
  FakeRunner runner(steps_ahead(), 512, 3);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  std::vector<Stream> streams = submit(engine, r, 3);
  runner.wait_until_held();
  runner.release();
  ASSERT_TRUE(streams[1]->wait());
  streams[1].reset();  // the reader leaves
  for (const uint32_t i : {0u, 2u}) expect_same(read_all(*streams[i]), run_alone(r, i));
}

TEST_P(ChoicesTest, AllCancelledInPrefillFreeTheSlots) {
  FakeRunner runner(steps_ahead(), 512, 3);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  { const std::vector<Stream> gone = submit(engine, request(1 << 20, 20), 3); }
  runner.release();
  for (const Stream& stream : submit(engine, request(5, 1), 3)) {
    EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  }
  EXPECT_EQ(engine.stats().cancelled, 3);
}

TEST_P(ChoicesTest, AFullStreamPausesOnlyItsChoice) {
  const GenerateRequest r = request(10, 100, 1);
  FakeRunner runner(steps_ahead(), 512, 2);
  EngineOptions small = options();
  small.stream_capacity = 4;
  Engine engine(&runner, &vocabulary(), small);
  const std::vector<Stream> streams = submit(engine, r, 2);
  expect_same(read_all(*streams[1]), run_alone(r, 1));
  EXPECT_EQ(engine.stats().running, 1);
  expect_same(read_all(*streams[0]), run_alone(r, 0));
}

TEST_P(ChoicesTest, ConstraintsAreClonedForEach) {
  GenerateRequest r = request(10, 100);
  std::vector<int32_t> letters;
  for (int32_t t = 'a'; t <= 'z'; ++t) letters.push_back(t);
  r.constraint = std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>{letters, {'0', '1'}, letters, {'!'}});
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  const std::vector<Stream> streams = submit(engine, r, 4);
  for (uint32_t i = 0; i < 4; ++i) {
    const TokenUpdate update = read_all(*streams[i]);
    EXPECT_THAT(update.text, testing::MatchesRegex("[a-z][01][a-z]!"));
    EXPECT_EQ(update.finish, FinishReason::kStop);
    expect_same(update, run_alone(r, i));
  }
}

TEST_P(ChoicesTest, PromptOnly) {
  FakeRunner runner(steps_ahead(), 512, 3);
  Engine engine(&runner, &vocabulary(), options());
  for (const Stream& stream : submit(engine, request(100, 0), 3)) {
    const TokenUpdate update = read_all(*stream);
    EXPECT_EQ(update.finish, FinishReason::kLength);
    EXPECT_EQ(update.prompt_tokens_read, 100);
  }
  EXPECT_EQ(engine.stats().running, 0);
}

class ConstraintTest : public BothWays {};
DELTASERVE_BOTH_WAYS(ConstraintTest);

TEST_P(ConstraintTest, ABrokenOneEndsItsRequestOnly) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest broken = request(10, 100);
  broken.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{'a'}, {}});
  const Stream bad = *engine.submit(std::move(broken));
  const Stream good = *engine.submit(request(10, 20));
  const TokenUpdate update = read_all(*bad);
  EXPECT_EQ(update.text, "a");
  EXPECT_EQ(update.finish, FinishReason::kError);
  EXPECT_EQ(read_all(*good).finish, FinishReason::kLength);
  EXPECT_EQ(engine.stats().errors, 1);
}

class PenalisedTest : public BothWays {};
DELTASERVE_BOTH_WAYS(PenalisedTest);

TEST_P(PenalisedTest, RowsCarryTheCountsOfTheirSequence) {
  FakeRunner runner(steps_ahead(), 512, 2, FakeRunner::script("xyx", 2));
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(0, 10);
  r.prompt = {'p', 'p'};
  r.sampling.repetition_penalty = 2;
  r.sampling.frequency_penalty = 0.5f;
  EXPECT_EQ(read_all(**engine.submit(std::move(r))).text, "xyx");
  const auto steps = runner.steps();
  ASSERT_EQ(steps.size(), 4u + steps_ahead());  // the end of the text comes unforeseen
  ASSERT_EQ(steps[0].adjustments.size(), 1u);
  EXPECT_EQ(steps[0].adjustments[0].token, 'p');
  EXPECT_EQ(steps[0].adjustments[0].factor, 2);
  ASSERT_EQ(steps[3].adjustments.size(), 3u);
  EXPECT_EQ(steps[3].adjustments[1].token, 'x');
  EXPECT_EQ(steps[3].adjustments[1].add, -1);
  EXPECT_EQ(steps[3].adjustments[2].add, -0.5f);
}

class PriorityTest : public BothWays {};
DELTASERVE_BOTH_WAYS(PriorityTest);

TEST_P(PriorityTest, SmallerGoesFirst) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  std::vector<Stream> streams{*engine.submit(request(1, 1))};
  runner.wait_until_held();
  const std::pair<int, int32_t> waiting[] = {{2, 7}, {3, 0}, {4, -7}, {5, 0}, {6, 7}};
  for (const auto& [prompt, priority] : waiting) {
    GenerateRequest r = request(prompt, 1);
    r.priority = priority;
    streams.push_back(*engine.submit(std::move(r)));
  }
  runner.release();
  for (const Stream& stream : streams) read_all(*stream);
  std::vector<int> order;
  for (const auto& step : runner.steps()) order.push_back(step.segments[0].num_rows);
  EXPECT_EQ(order, (std::vector<int>{1, 4, 3, 2, 5, 6})) << "the fourth is the oldest";
}

class DeadlineTest : public BothWays {};
DELTASERVE_BOTH_WAYS(DeadlineTest);

TEST_P(DeadlineTest, PassedBeforeItBegan) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(1, 1);
  r.deadline = now();
  EXPECT_TRUE(absl::IsDeadlineExceeded(engine.submit(std::move(r)).status()));
  EXPECT_EQ(engine.stats().finished, 0);
}

TEST_P(DeadlineTest, EndsWhatWaitsWhileTheEngineSleeps) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions small = options();
  small.stream_capacity = 2;
  Engine engine(&runner, &vocabulary(), small);
  // Its reader does nothing, so that only time passes from now on.
  const Stream lagging = *engine.submit(request(10, 100));
  ASSERT_TRUE(eventually_full(*lagging));
  const TokenUpdate update = read_all(*submit_late(engine, request(10, 1)));
  EXPECT_EQ(update.finish, FinishReason::kDeadline);
  EXPECT_EQ(update.prompt_tokens_read, 0);
  EXPECT_GT(update.queue_seconds, 0);
  EXPECT_EQ(update.prefill_seconds, 0);
  EXPECT_EQ(engine.stats().deadline_exceeded, 1);
  EXPECT_EQ(read_all(*lagging).finish, FinishReason::kLength);
}

TEST_P(DeadlineTest, EndsAPausedSequenceAndFreesItsSlot) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions small = options();
  small.stream_capacity = 2;
  Engine engine(&runner, &vocabulary(), small);
  const Stream lagging = submit_late(engine, request(10, 100));
  EXPECT_EQ(read_all(**engine.submit(request(5, 1))).finish, FinishReason::kLength);
  EXPECT_EQ(read_all(*lagging).finish, FinishReason::kDeadline);
}

TEST_P(DeadlineTest, EndsWhatRunsAfterTheStep) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  SteadyTime deadline, later;
  const Stream decoding = submit_late(engine, request(10, int64_t{1} << 40), &deadline);
  runner.wait_until_held();
  const Stream reading = submit_late(engine, request(1 << 20, 1), &later);
  std::this_thread::sleep_until(std::max(deadline, later));
  runner.release();
  EXPECT_EQ(read_all(*decoding).finish, FinishReason::kDeadline);
  const TokenUpdate update = read_all(*reading);
  EXPECT_EQ(update.finish, FinishReason::kDeadline);
  EXPECT_EQ(update.prompt_tokens_read, 0);
}

TEST_P(DeadlineTest, AFarOneChangesNothing) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions small = options();
  small.stream_capacity = 2;
  Engine engine(&runner, &vocabulary(), small);
  GenerateRequest r = request(10, 50, 3);
  const TokenUpdate alone = run_alone(r, 0);
  r.deadline = now() + hours(1000);
  expect_same(read_all(**engine.submit(std::move(r))), alone);
}

class StatsTest : public BothWays {};
DELTASERVE_BOTH_WAYS(StatsTest);

TEST_P(StatsTest, FinishReasons) {
  FakeRunner runner(steps_ahead(), 512, 2, FakeRunner::script("abc", 1));
  Engine engine(&runner, &vocabulary(), options());
  read_all(**engine.submit(request(1, 100)));
  read_all(**engine.submit(request(1, 2)));
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.finished, 2);
  EXPECT_EQ(stats.finished_stop, 1);
  EXPECT_EQ(stats.finished_length, 1);
  EXPECT_EQ(stats.prompt_tokens, 2);
  EXPECT_EQ(stats.decode_rows, 4);
  EXPECT_EQ(stats.generated_tokens, 6);
}

}  // namespace
}  // namespace deltaserve
