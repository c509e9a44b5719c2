// Tests which requests are read ahead after an answer, how many, and when they are dropped.
#include "server/service/read_aheads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "server/service/generation.h"
#include "tests/server/service/service_testing.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

std::map<std::string, uint64_t> results(const TestServices& test) {
  const auto values = test.metrics.read_aheads.values();
  return {values.begin(), values.end()};
}

std::string result(const char* name) {
  return "result=\"" + std::string(name) + "\"";
}

void wait_for(const TestServices& test, const char* name, uint64_t count) {
  while (results(test)[result(name)] < count) std::this_thread::yield();
}

ReadAhead read_ahead_of(size_t tokens, uint8_t owner = 0) {
  ReadAhead read_ahead;
  read_ahead.id = "x-read-ahead";
  read_ahead.reuse.owner = {owner};
  read_ahead.conversation.prompt.assign(10, 1);
  read_ahead.conversation.answer_tokens.assign(tokens - 10, 2);
  return read_ahead;
}

// Counts the prefill rows of all steps.
int64_t prompt_rows(const TestServices& test) {
  int64_t rows = 0;
  for (const FakeRunner::Step& step : test.runner.steps()) {
    for (const Segment& segment : step.segments) {
      if (segment.kind == RowKind::kPrefill) rows += segment.num_rows;
    }
  }
  return rows;
}

TEST(ReadAheads, AreReadAndCounted) {
  TestServices test;
  test.services->read_aheads.offer(read_ahead_of(200));
  wait_for(test, "finished", 1);
  EXPECT_EQ(prompt_rows(test), 200);
  EXPECT_THAT(results(test), ElementsAre(Pair(result("finished"), 1)));
  EXPECT_EQ(test.engine.stats().generated_tokens, 0);
}

TEST(ReadAheads, WhatWouldKeepNothingIsNotRead) {
  TestServices test;
  test.services->read_aheads.offer(read_ahead_of(64));
  wait_for(test, "needless", 1);
  EXPECT_THAT(test.runner.steps(), IsEmpty());
}

TEST(ReadAheads, OnlySoManyWait) {
  TestServices test;
  test.runner.hold();
  const ServerLimits& limits = test.services->limits;
  const size_t offered = limits.waiting_read_aheads + limits.submitted_read_aheads + 3;
  for (size_t i = 0; i < offered; ++i) test.services->read_aheads.offer(read_ahead_of(100));
  // The first ones may have gone to the engine meanwhile, which is held.
  const uint64_t dropped = results(test)[result("dropped")];
  EXPECT_GE(dropped, 3u);
  EXPECT_LE(dropped, 3u + limits.submitted_read_aheads);
  test.runner.release();
  wait_for(test, "finished", offered - dropped);
  EXPECT_EQ(prompt_rows(test), static_cast<int64_t>(100 * (offered - dropped)));
  EXPECT_EQ(test.engine.stats().read_ahead_tokens, prompt_rows(test));
}

// Some of them wait, and some are with the engine, which is held.
TEST(ReadAheads, ThoseOfAnOwnerAreDropped) {
  TestServices test;
  test.runner.hold();
  const ServerLimits& limits = test.services->limits;
  const uint64_t each = limits.submitted_read_aheads;
  ASSERT_LE(2 * each, limits.waiting_read_aheads);
  for (uint64_t i = 0; i < 2 * each; ++i) {
    test.services->read_aheads.offer(read_ahead_of(100, i % 2 == 0 ? 1 : 2));
  }
  test.runner.wait_until_held();
  test.services->read_aheads.drop({1});
  test.engine.clear_prefixes({1});
  test.runner.release();
  wait_for(test, "finished", each);
  wait_for(test, "dropped", each);
  EXPECT_LE(prompt_rows(test), static_cast<int64_t>(100 * each + 100)) << "one may have begun";
}

TEST(ReadAheads, TheirMemoryIsBounded) {
  TestServices test;
  ReadAhead large = read_ahead_of(100);
  large.conversation.text.emplace(test.services->limits.waiting_read_ahead_bytes, 'x');
  test.services->read_aheads.offer(std::move(large));
  EXPECT_THAT(results(test), ElementsAre(Pair(result("dropped"), 1)));
}

TEST(ReadAheads, ADrainDropsThem) {
  TestServices test;
  test.runner.hold();
  for (int i = 0; i < 5; ++i) test.services->read_aheads.offer(read_ahead_of(100));
  test.runner.wait_until_held();
  test.services->drain();
  EXPECT_EQ(results(test)[result("finished")], 0u);
  test.services->read_aheads.offer(read_ahead_of(100));  // is not taken
  test.runner.release();
  while (!test.engine.drained()) std::this_thread::yield();
  test.services->stop();
  EXPECT_THAT(results(test), ElementsAre(Pair(result("dropped"), 5)));
  EXPECT_LE(prompt_rows(test), 200);
}

// ---- From a generation

struct Ask {
  size_t prompts = 1;
  int64_t prompt_tokens = 60;
  int64_t snapshots = 4;
  std::function<void(Parameters*)> change = {};
};

// Runs a generation to its end and waits for its read-ahead, if there is one. Returns the prefill
// rows beside those of the prompts.
int64_t rows_after(const Ask& ask, bool expected) {
  TestServices test;
  test.model.snapshots = ask.snapshots;
  GenerationRequest request;
  for (size_t i = 0; i < ask.prompts; ++i) {
    request.token_prompts.emplace_back(static_cast<size_t>(ask.prompt_tokens), 1);
  }
  Parameters given;
  given.max_tokens = 20;
  given.ignore_eos = true;
  if (ask.change) ask.change(&given);
  EXPECT_FALSE(complete_request(given, test.model, test.services->limits, &request));
  Arrival arrival;
  arrival.id = "r";
  Generation generation(*test.services, std::move(request), std::move(arrival));
  EXPECT_FALSE(generation.encode());
  EXPECT_FALSE(generation.submit([] {}));
  while (!generation.done() && !generation.error()) generation.next();
  if (expected) wait_for(test, "finished", 1);
  test.services->stop();
  EXPECT_EQ(results(test).size(), expected ? 1u : 0u);
  return prompt_rows(test) - static_cast<int64_t>(ask.prompts) * ask.prompt_tokens;
}

TEST(ReadAheads, FollowAnAnswer) {
  EXPECT_EQ(rows_after({}, true), 80);
}

TEST(ReadAheads, FollowNothingElse) {
  EXPECT_EQ(rows_after({.snapshots = 0}, false), 0);
  EXPECT_EQ(rows_after({.prompts = 2}, false), 0);
  EXPECT_EQ(rows_after({.change = [](Parameters* given) { given->n = 2; }}, false), 0);
  EXPECT_EQ(rows_after({.change = [](Parameters* given) { given->max_tokens = 0; }}, false), 0);
  EXPECT_EQ(rows_after({.change = [](Parameters* given) { given->prompt_logprobs = 0; }}, false),
            0);
}

TEST(ReadAheads, ACancelledAnswerHasNone) {
  TestServices test;
  test.model.snapshots = 4;
  test.runner.hold();
  {
    GenerationRequest request;
    request.token_prompts.emplace_back(100, 1);
    Parameters given;
    given.max_tokens = 1000;
    EXPECT_FALSE(complete_request(given, test.model, test.services->limits, &request));
    Generation generation(*test.services, std::move(request), Arrival{});
    EXPECT_FALSE(generation.encode());
    EXPECT_FALSE(generation.submit([] {}));
  }
  test.runner.release();
  while (test.engine.stats().cancelled == 0) std::this_thread::yield();
  test.services->stop();
  EXPECT_THAT(results(test), IsEmpty());
}

}  // namespace
}  // namespace deltaserve
