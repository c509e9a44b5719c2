// Tests the order of the calls, with a runner that runs a step ahead and with one that does not.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/limits.h"
#include "engine/loop/engine.h"
#include "tests/engine/loop/engine_testing.h"
#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

using Call = FakeRunner::Call;

// Formats calls as "F1 C1 D1 W1": forward, copy, draw, wait.
std::string shown(const std::vector<Call>& calls) {
  std::string text;
  for (const Call& call : calls) text += "FDWC"[call.kind] + std::to_string(call.step) + ' ';
  if (!text.empty()) text.pop_back();
  return text;
}

// With these options no sequence is left out of a step because of the time that masks take.
EngineOptions patient_options() {
  EngineOptions patient = options();
  patient.mask_time = std::chrono::hours(1);
  return patient;
}

// Allows any number of letters.
std::unique_ptr<TokenConstraint> letters(int64_t count) {
  std::vector<int32_t> letters;
  for (int32_t letter = 'a'; letter <= 'z'; ++letter) letters.push_back(letter);
  return std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>(static_cast<size_t>(count), letters));
}

GenerateRequest constrained_and_penalised(int64_t max_tokens, uint64_t seed) {
  GenerateRequest r = request(3, max_tokens, seed);
  r.constraint = letters(max_tokens + 1);
  r.sampling.frequency_penalty = 0.5f;
  r.sampling.repetition_penalty = 1.5f;
  r.logprobs = 1;
  return r;
}

// Submits requests so that all are admitted before the same step, the second.
std::vector<Stream> submit_together(Engine& engine, FakeRunner& runner,
                                    std::vector<GenerateRequest> requests) {
  runner.hold();
  const Stream first = *engine.submit(request(1, 1));
  runner.wait_until_held();
  std::vector<Stream> streams;
  for (GenerateRequest& r : requests) streams.push_back(*engine.submit(std::move(r)));
  runner.release();
  read_all(*first);
  return streams;
}

void wait_until_drained(Engine& engine) {
  engine.drain();
  while (!engine.drained()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(EngineAhead, TheNextForwardPassIsQueuedBeforeTheWait) {
  FakeRunner runner(1, 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  read_all(**engine.submit(request(3, 4)));
  EXPECT_EQ(shown(runner.calls()), "F1 D1 F2 W1 D2 F3 W2 D3 F4 W3 D4 W4");
  for (const FakeRunner::Step& step : runner.steps()) {
    EXPECT_EQ(step.num_tokens_of_slot, step.num_decode);
  }
}

TEST(EngineAhead, WithoutItStepsFollowEachOther) {
  FakeRunner runner(0, 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  read_all(**engine.submit(request(3, 4)));
  EXPECT_EQ(shown(runner.calls()), "F1 D1 W1 F2 D2 W2 F3 D3 W3 F4 D4 W4");
  for (const FakeRunner::Step& step : runner.steps()) EXPECT_EQ(step.num_tokens_of_slot, 0);
}

TEST(EngineAhead, ForConstrainedAndPenalisedRowsToo) {
  FakeRunner runner(1, 512, 8);
  Engine engine(&runner, &vocabulary(), patient_options());
  std::vector<GenerateRequest> requests;
  for (uint64_t i = 0; i < 8; ++i) requests.push_back(constrained_and_penalised(20, i));
  for (const Stream& stream : submit_together(engine, runner, std::move(requests))) {
    EXPECT_EQ(read_all(*stream).tokens_generated, 20);
  }
  // The first request is followed by one prompt step and 19 decode steps with a row of every
  // sequence.
  const auto steps = runner.steps();
  ASSERT_EQ(steps.size(), 1u + 20u);
  for (size_t i = 2; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].num_decode, 8);
    EXPECT_EQ(steps[i].num_tokens_of_slot, 8);
    EXPECT_EQ(steps[i].num_draws, 8);
  }
  std::string expected = "F1 D1 W1 F2 D2";
  for (int n = 3; n <= 21; ++n) {
    const std::string before = std::to_string(n - 1), now = std::to_string(n);
    expected += " F" + now + " W" + before + " D" + now;
  }
  EXPECT_EQ(shown(runner.calls()), expected + " W21");
}

// A forward pass of this runner ends when its draws are queued: an engine that waited for the pass
// first would wait for ever.
TEST(EngineAhead, DrawsAreQueuedWhileTheirForwardPassRuns) {
  FakeRunner runner(1, 512, 8);
  runner.forward_until_drawn();
  Engine engine(&runner, &vocabulary(), options());
  std::vector<Stream> streams;
  for (uint64_t i = 0; i < 4; ++i) {
    streams.push_back(*engine.submit(constrained_and_penalised(20, i)));
  }
  streams.push_back(*engine.submit(request(1000, 30)));
  const std::vector<Stream> choices = *engine.submit_choices(request(100, 10), 3);
  streams.insert(streams.end(), choices.begin(), choices.end());
  for (const Stream& stream : streams) EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
}

// Choices decode in the step after the prompt's end, from copies that are queued between the two.
TEST(EngineAhead, CopiesAreQueuedBetweenTheForwardPasses) {
  FakeRunner runner(1, 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  const std::vector<Stream> streams = *engine.submit_choices(request(600, 3), 3);
  for (const Stream& stream : streams) read_all(*stream);
  EXPECT_EQ(shown(runner.calls()), "F1 D1 F2 C2 C2 W1 D2 F3 W2 D3 F4 W3 D4 W4");
  const auto steps = runner.steps();
  EXPECT_EQ(steps[1].num_draws, 3);
  EXPECT_EQ(steps[2].num_tokens_of_slot, 3);
}

class AheadTest : public BothWays {};
DELTASERVE_BOTH_WAYS(AheadTest);

TEST_P(AheadTest, NoRowBehindMaxTokens) {
  for (const int64_t max_tokens : {0, 1, 2, 3}) {
    FakeRunner runner(steps_ahead(), 512, 4);
    Engine engine(&runner, &vocabulary(), options());
    read_all(**engine.submit(request(3, max_tokens)));
    wait_until_drained(engine);
    EXPECT_EQ(runner.steps().size(), static_cast<size_t>(std::max<int64_t>(max_tokens, 1)));
  }
}

// EOS comes unforeseen: the row after it is computed, but neither drawn from nor counted.
TEST_P(AheadTest, ARowBehindTheEndDoesNotCount) {
  FakeRunner runner(steps_ahead(), 512, 2, FakeRunner::script("abc", 2));
  Engine engine(&runner, &vocabulary(), options());
  EXPECT_EQ(read_all(**engine.submit(request(2, 100))).text, "abc");
  wait_until_drained(engine);
  const auto steps = runner.steps();
  ASSERT_EQ(steps.size(), 4u + steps_ahead());
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].num_draws, i < 4 ? 1 : 0);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.steps, 4);
  EXPECT_EQ(stats.decode_rows, 3);
  EXPECT_EQ(stats.generated_tokens, 4);
}

// The reader leaves while a step with its row is queued; nobody receives the row's result.
TEST_P(AheadTest, ACancelWithAStepUnderWay) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  GenerateRequest r = constrained_and_penalised(100, 1);
  r.prompt.assign(10, 'p');
  const Stream stream = *engine.submit(std::move(r));
  runner.wait_until_held();
  stream->cancel();
  runner.release();
  const TokenUpdate update = read_all(*stream);
  EXPECT_EQ(update.finish, FinishReason::kCancelled);
  EXPECT_EQ(update.tokens_generated, 1);
  wait_until_drained(engine);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.steps, 1);
  EXPECT_EQ(stats.prompt_tokens, 10);
  EXPECT_EQ(stats.decode_rows, 0);
  EXPECT_EQ(stats.generated_tokens, 1);
  EXPECT_EQ(runner.steps().size(), 1u + steps_ahead());
}

// Does the same while the prompt is read: two pieces are in flight, and the slot is reused at once.
TEST_P(AheadTest, ACancelledPromptWithStepsUnderWay) {
  FakeRunner runner(steps_ahead(), 128, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  GenerateRequest r = request(1 << 20, 5);
  r.prompt_logprobs = 0;
  const Stream gone = *engine.submit(std::move(r));
  runner.wait_until_held();
  gone->cancel();
  const Stream next = *engine.submit(request(20, 3, 7));
  runner.release();
  EXPECT_EQ(read_all(*gone).prompt_tokens_read, 128);
  EXPECT_EQ(read_all(*next).tokens_generated, 3);
  wait_until_drained(engine);
  EXPECT_EQ(engine.stats().prompt_tokens, 128 + 20);
  const auto steps = runner.steps();
  ASSERT_EQ(steps.size(), 1u + steps_ahead() + 3u);
  EXPECT_EQ(steps[1 + steps_ahead()].segments[0].write_slot, 0);
  EXPECT_EQ(steps[1 + steps_ahead()].segments[0].position, 0);
}

// The sequences in front end one after the other, so that all others move up while a step with
// their rows is queued.
TEST_P(AheadTest, AnEndShiftsNobody) {
  const auto next_token = [](const std::vector<int32_t>& tokens, const Draw& draw) {
    return draw.position == 4 + 2 * draw.seed ? kTestEos : FakeRunner::hashed_letter(tokens, draw);
  };
  std::vector<std::string> alone;
  for (uint64_t i = 0; i < 6; ++i) {
    FakeRunner runner(0, 512, 1, next_token);
    Engine engine(&runner, &vocabulary(), options());
    alone.push_back(read_all(**engine.submit(request(3, 100, i))).text);
    EXPECT_EQ(alone.back().size(), 1 + 2 * i);
  }
  FakeRunner runner(steps_ahead(), 512, 6, next_token);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<GenerateRequest> requests;
  for (uint64_t i = 0; i < 6; ++i) requests.push_back(request(3, 100, i));
  const std::vector<Stream> streams = submit_together(engine, runner, std::move(requests));
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(read_all(*streams[i]).text, alone[i]);
}

TEST_P(AheadTest, StopWithAStepUnderWay) {
  FakeRunner runner(steps_ahead(), 128, 3);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const Stream decoding = *engine.submit(constrained_and_penalised(100, 1));
  runner.wait_until_held();
  const Stream reading = *engine.submit(request(1 << 20, 1));
  std::thread stopping([&] { engine.stop(); });
  while (!absl::IsUnavailable(engine.submit(request(1, 1)).status())) std::this_thread::yield();
  runner.release();
  stopping.join();
  const TokenUpdate update = read_all(*decoding);
  EXPECT_EQ(update.finish, FinishReason::kCancelled);
  EXPECT_EQ(update.tokens_generated, 1 + steps_ahead());  // what was under way still came
  EXPECT_EQ(read_all(*reading).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine.stats().running, 0);
}

// ---- The time for masks

// Returns which of the constrained rows, by slot, are in each decode step.
std::vector<std::vector<int32_t>> constrained_slots(const FakeRunner& runner, int32_t first_slot) {
  std::vector<std::vector<int32_t>> slots;
  for (const FakeRunner::Step& step : runner.steps()) {
    slots.emplace_back();
    for (int i = 0; i < step.num_decode; ++i) {
      const int32_t slot = step.segments[i].write_slot;
      if (slot >= first_slot) slots.back().push_back(slot);
    }
  }
  return slots;
}

// There is time for one mask per step, so two sequences take turns: one that is left out of a step
// is in the next, and unconstrained ones are in all of them.
TEST_P(AheadTest, WhoeverWaitsForAMaskWaitsForOneStep) {
  FakeRunner runner(steps_ahead(), 512, 3);
  EngineOptions hasty = options();
  hasty.mask_time = std::chrono::microseconds(0);
  Engine engine(&runner, &vocabulary(), hasty);
  std::vector<GenerateRequest> requests;
  requests.push_back(request(3, 41, 5));
  for (uint64_t i = 0; i < 2; ++i) requests.push_back(constrained_and_penalised(21, i));
  for (const Stream& stream : submit_together(engine, runner, std::move(requests))) {
    EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  }
  const auto steps = runner.steps();
  const auto slots = constrained_slots(runner, 1);
  ASSERT_EQ(slots.size(), 2u + 40u);
  for (size_t i = 2; i < slots.size(); ++i) {
    EXPECT_EQ(steps[i].num_decode, 2) << i;
    ASSERT_EQ(slots[i].size(), 1u) << i;
    EXPECT_NE(slots[i], slots[i - 1]) << i;
  }
}

// A single constrained sequence never waits.
TEST_P(AheadTest, OneMaskIsMadeInEveryStep) {
  FakeRunner runner(steps_ahead(), 512, 1);
  EngineOptions hasty = options();
  hasty.mask_time = std::chrono::microseconds(0);
  Engine engine(&runner, &vocabulary(), hasty);
  read_all(**engine.submit(constrained_and_penalised(20, 1)));
  EXPECT_EQ(runner.steps().size(), 20u);
}

// Allows letters; its masks are quick until a certain token and slow after it.
class SlowLater final : public TokenConstraint {
 public:
  explicit SlowLater(int quick) : quick_(quick) {}
  void allowed(std::span<uint32_t> words) const override {
    if (num_accepted_ >= quick_) std::this_thread::sleep_for(2 * engine_limits::kMaskTime);
    std::fill(words.begin(), words.end(), 0);
    for (int32_t letter = 'a'; letter <= 'z'; ++letter) words[letter / 32] |= 1u << (letter % 32);
  }
  void accept(int32_t) override { ++num_accepted_; }
  bool finished() const override { return false; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<SlowLater>(*this);
  }

 private:
  const int quick_;
  int num_accepted_ = 0;
};

// Rows that were queued on a wrong estimate are drawn, however long the masks take. But the
// estimate is corrected: from then on a step has one such row.
TEST_P(AheadTest, MasksThatTurnOutSlowAreNotTrustedTwice) {
  constexpr int kQuick = 5;
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  std::vector<GenerateRequest> requests;
  requests.push_back(request(3, 60, 5));
  for (uint64_t i = 0; i < 3; ++i) {
    requests.push_back(request(3, 15, i));
    requests.back().constraint = std::make_unique<SlowLater>(kQuick);
  }
  for (const Stream& stream : submit_together(engine, runner, std::move(requests))) {
    EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  }
  std::map<int32_t, int>
      rows;  // of each slot, so far; row r is followed by the draw of token r + 1
  int slow_together = 0;
  for (const std::vector<int32_t>& slots : constrained_slots(runner, 1)) {
    int slow = 0;
    for (const int32_t slot : slots) slow += ++rows[slot] >= kQuick ? 1 : 0;
    slow_together += slow > 1 ? 1 : 0;
  }
  EXPECT_LE(slow_together, 3 * steps_ahead());
  for (int32_t slot = 1; slot < 4; ++slot) EXPECT_EQ(rows[slot], 14);
}

}  // namespace
}  // namespace deltaserve
