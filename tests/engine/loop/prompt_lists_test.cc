// Requests of many prompts: how many of them are in the queue at a time, and who goes between.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/engine/loop/engine_testing.h"

namespace deltaserve {
namespace {

class ListedPrompts : public BothWays {};
DELTASERVE_BOTH_WAYS(ListedPrompts);

// Prompt i of a list has kListed tokens of its own.
constexpr int64_t kListed = 3;

std::vector<GenerateRequest> list_of(int size, int64_t max_tokens) {
  std::vector<GenerateRequest> list;
  for (int i = 0; i < size; ++i) {
    list.push_back(request(kListed, max_tokens, static_cast<uint64_t>(i)));
    if (max_tokens == 0) list.back().pooling = Pooling::kMean;
  }
  return list;
}

EngineOptions options_with_queue(int places) {
  EngineOptions made = options();
  made.max_queued_requests = places;
  return made;
}

void wait_until_drained(const Engine& engine) {
  while (!engine.drained()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST_P(ListedPrompts, AListHoldsNoMorePlacesThanThereAreSlots) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options_with_queue(3));
  runner.hold();
  const std::vector<Stream> list = *engine.submit_list(list_of(200, 0), 1);
  ASSERT_EQ(list.size(), 200u);
  std::vector<Stream> others;
  for (int i = 0; i < 3; ++i) {
    const auto other = engine.submit(request(5, 1));
    ASSERT_TRUE(other.ok()) << i;
    others.push_back(*other);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(engine.submit(request(5, 1)).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(engine.submit_list(list_of(2, 1), 1).status()));
  const EngineStats full = engine.stats();
  EXPECT_EQ(full.waiting + full.running, 5);
  runner.release();
  for (const Stream& stream : others) EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  std::vector<std::vector<float>> embeddings;
  for (const Stream& stream : list) {
    TokenUpdate answer = read_all(*stream);
    EXPECT_EQ(answer.finish, FinishReason::kStop);
    embeddings.push_back(std::move(answer.embedding));
  }
  EXPECT_EQ(engine.stats().finished, 203);
  EXPECT_EQ(engine.stats().waiting, 0);
  for (const size_t i : {size_t{0}, size_t{7}, size_t{199}}) {
    auto alone = engine.submit(std::move(list_of(200, 0)[i]));
    EXPECT_EQ(read_all(**alone).embedding, embeddings[i]);
  }
}

TEST_P(ListedPrompts, OthersDoNotWaitForTheWholeList) {
  FakeRunner runner(steps_ahead(), 512, 1);
  Engine engine(&runner, &vocabulary(), options());
  runner.hold();
  const std::vector<Stream> list = *engine.submit_list(list_of(50, 1), 1);
  const Stream other = *engine.submit(request(40, 1));
  const std::vector<Stream> second = *engine.submit_list(list_of(50, 1), 1);
  runner.release();
  for (const auto& streams : {list, second, {other}}) {
    for (const Stream& stream : streams) EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  }
  // One place of the list was before the other's, and the next one comes after it.
  const auto steps = runner.steps();
  const auto found = std::find_if(steps.begin(), steps.end(), [](const FakeRunner::Step& step) {
    return !step.segments.empty() && step.segments[0].num_rows == 40;
  });
  EXPECT_EQ(found - steps.begin(), 1);
  EXPECT_EQ(steps.size(), 101u);
}

TEST_P(ListedPrompts, EveryPromptHasAllItsChoices) {
  for (const int slots : {1, 2, 4, 7}) {
    FakeRunner runner(steps_ahead(), 512, slots);
    Engine engine(&runner, &vocabulary(), options_with_queue(3));
    const std::vector<Stream> streams = *engine.submit_list(list_of(10, 20), 3);
    ASSERT_EQ(streams.size(), 30u);
    std::vector<std::string> texts;
    for (const Stream& stream : streams) texts.push_back(read_all(*stream).text);
    EXPECT_EQ(engine.stats().waiting, 0);
    for (size_t i = 0; i < 10; ++i) {
      const auto alone = *engine.submit_choices(std::move(list_of(10, 20)[i]), 3);
      for (size_t j = 0; j < 3; ++j) EXPECT_EQ(read_all(*alone[j]).text, texts[3 * i + j]);
    }
  }
}

TEST_P(ListedPrompts, ADrainLetsThemFinish) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options_with_queue(0));
  runner.hold();
  const std::vector<Stream> list = *engine.submit_list(list_of(40, 2), 1);
  engine.drain();
  EXPECT_FALSE(engine.drained());
  runner.release();
  for (const Stream& stream : list) EXPECT_EQ(read_all(*stream).finish, FinishReason::kLength);
  wait_until_drained(engine);
}

TEST_P(ListedPrompts, TheyEndWhenNobodyWantsThemOrTimeIsOver) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options_with_queue(0));
  runner.hold();
  std::vector<Stream> list = *engine.submit_list(list_of(40, 1 << 20), 1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (i != 20) list[i].reset();
  }
  runner.release();
  while (engine.stats().cancelled < 39) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  list[20]->cancel();
  EXPECT_EQ(read_all(*list[20]).finish, FinishReason::kCancelled);

  std::vector<GenerateRequest> late = list_of(40, 1 << 20);
  for (GenerateRequest& one : late) {
    one.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  }
  list = *engine.submit_list(std::move(late), 1);
  for (const Stream& stream : list) EXPECT_EQ(read_all(*stream).finish, FinishReason::kDeadline);
  EXPECT_EQ(engine.stats().deadline_exceeded, 40);
  const EngineStats idle = engine.stats();
  EXPECT_EQ(idle.waiting + idle.running, 0);
  EXPECT_EQ(read_all(**engine.submit(request(1, 1))).finish, FinishReason::kLength);
}

TEST_P(ListedPrompts, AStoppedEngineEndsThem) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options());
  const std::vector<Stream> list = *engine.submit_list(list_of(40, 1 << 20), 2);
  engine.stop();
  for (const Stream& stream : list) EXPECT_EQ(read_all(*stream).finish, FinishReason::kCancelled);
}

TEST_P(ListedPrompts, OneBadPromptRefusesAll) {
  FakeRunner runner(steps_ahead(), 512, 2);
  Engine engine(&runner, &vocabulary(), options_with_queue(1));
  std::vector<GenerateRequest> list = list_of(3, 1);
  list[2].prompt = {kTestVocabSize};
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit_list(std::move(list), 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(engine.submit_list(list_of(3, 1), 4).status()));
  EXPECT_EQ(engine.stats().waiting, 0);
}

}  // namespace
}  // namespace deltaserve
