// The life of a request without a front.
#include "server/service/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/server/service/service_testing.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

// Prompts of ids, continued with `change`d parameters.
GenerationRequest request_of(const TestServices& test, std::vector<std::vector<int32_t>> prompts,
                             const std::function<void(Parameters*)>& change = {}) {
  GenerationRequest request;
  request.token_prompts = std::move(prompts);
  Parameters given;
  given.max_tokens = 4;
  given.ignore_eos = true;
  if (change) change(&given);
  const auto error = complete_request(given, test.model, test.services->limits, &request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

Arrival arrival_now() {
  Arrival arrival;
  arrival.id = "r";
  arrival.time = std::chrono::steady_clock::now();
  return arrival;
}

// A generation that was submitted, and a way to wait for what it has.
class Running {
 public:
  Running(TestServices& test, GenerationRequest request, Arrival arrival = arrival_now())
      : generation(*test.services, std::move(request), std::move(arrival)) {
    error = generation.encode();
    if (error) return;
    error = generation.submit([shared = shared_] {
      const std::lock_guard lock(shared->mutex);
      shared->notified = true;
      shared->changed.notify_one();
    });
  }

  // The next part; nullopt when there is an error or all is done.
  std::optional<Generation::Part> wait() {
    for (;;) {
      if (auto part = generation.next()) return part;
      if (generation.done() || generation.error()) return std::nullopt;
      std::unique_lock lock(shared_->mutex);
      shared_->changed.wait(lock, [this] { return shared_->notified; });
      shared_->notified = false;
    }
  }

  // The tokens of the choices.
  std::map<size_t, std::vector<int32_t>> read_all() {
    std::map<size_t, std::vector<int32_t>> tokens;
    while (auto part = wait()) {
      auto& all = tokens[part->choice];
      all.insert(all.end(), part->update.tokens.begin(), part->update.tokens.end());
    }
    return tokens;
  }

  Generation generation;
  std::optional<ApiError> error;

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool notified = false;
  };
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

std::string described(const Generation& generation) {
  LogFields fields;
  generation.describe(&fields);
  std::FILE* file = std::tmpfile();
  Logger(LogFormat::kText, LogLevel::kInfo, fileno(file)).write(LogLevel::kInfo, "x", fields);
  std::rewind(file);
  char line[1024] = {};
  const size_t size = std::fread(line, 1, sizeof line - 1, file);
  std::fclose(file);
  return {line, size};
}

TEST(Generation, WhatWaitsToBeSentIsHeldWithinTheBudget) {
  ServerLimits limits;
  limits.large_body_bytes = 100;
  limits.total_body_bytes = 1000;
  TestServices test(4, 8, KeyRing(), limits);
  test.runner.hold();
  Running running(test, request_of(test, {{1, 2, 3}}));
  ASSERT_FALSE(running.error) << running.error->message;
  Generation& generation = running.generation;
  const MemoryBudget& budget = test.services->budget;
  EXPECT_TRUE(generation.hold_reply(100));
  EXPECT_EQ(budget.held(), 0u);  // small
  EXPECT_TRUE(generation.hold_reply(101));
  EXPECT_EQ(budget.held(), 200u);
  EXPECT_TRUE(generation.hold_reply(1000));
  EXPECT_EQ(budget.held(), 1000u);
  EXPECT_TRUE(generation.hold_reply(0));
  EXPECT_EQ(budget.held(), 0u);
  EXPECT_FALSE(generation.hold_reply(1001));
  ASSERT_TRUE(generation.error());
  EXPECT_EQ(generation.error()->kind, ErrorKind::kOverloaded);
  EXPECT_EQ(test.metrics.replies_too_large.value(), 1u);
  test.runner.release();
  while (test.engine.stats().cancelled == 0) std::this_thread::yield();
}

TEST(Generation, AllChoicesOfAllPromptsCount) {
  TestServices test;
  Running running(test, request_of(test, {{1, 2, 3}, {4, 5}}, [](Parameters* given) {
                    given->n = 2;
                    given->seed = 7;
                    given->user = "someone";
                  }));
  ASSERT_FALSE(running.error) << running.error->message;
  EXPECT_EQ(running.generation.num_choices(), 4u);
  const auto tokens = running.read_all();
  ASSERT_EQ(tokens.size(), 4u);
  for (const auto& [choice, all] : tokens) EXPECT_EQ(all.size(), 4u) << choice;
  EXPECT_NE(tokens.at(0), tokens.at(1));
  EXPECT_TRUE(running.generation.done());
  EXPECT_FALSE(running.generation.error());
  EXPECT_EQ(running.generation.usage().prompt_tokens, 5);
  EXPECT_EQ(running.generation.usage().completion_tokens, 16);
  const std::string line = described(running.generation);
  EXPECT_THAT(line,
              HasSubstr("prompt_tokens=5 cached_prompt_tokens=0 generated_tokens=16 queue_ms="));
  EXPECT_THAT(line, HasSubstr("finish=length,length,length,length user=someone"));

  // A seed means the same for a prompt alone.
  Running alone(test, request_of(test, {{4, 5}}, [](Parameters* given) {
                  given->n = 2;
                  given->seed = 7;
                }));
  const auto again = alone.read_all();
  EXPECT_EQ(again.at(0), tokens.at(2));
  EXPECT_EQ(again.at(1), tokens.at(3));
}

TEST(Generation, FirstTokenAndDecodeAreTimed) {
  TestServices test;
  const auto timings_with = [&](int max_tokens) {
    Running running(test, request_of(test, {{1, 2, 3}},
                                     [&](Parameters* given) { given->max_tokens = max_tokens; }));
    EXPECT_FALSE(running.generation.timings().time_to_first_token);
    running.read_all();
    return running.generation.timings();
  };
  EXPECT_GT(timings_with(2).time_to_first_token.value_or(0), 0);
  EXPECT_FALSE(timings_with(0).time_to_first_token);
  EXPECT_GE(timings_with(2).decode.value_or(-1), 0);
  EXPECT_FALSE(timings_with(1).decode);
}

TEST(Generation, ChoicesAreAskedInTurn) {
  TestServices test;
  Running running(test, request_of(test, {{1}, {2}, {3}}));
  ASSERT_FALSE(running.error);
  while (test.engine.stats().finished < 3) std::this_thread::yield();
  std::vector<size_t> order;
  while (auto part = running.generation.next()) order.push_back(part->choice);
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2}));  // each has all of its updates in one
  EXPECT_TRUE(running.generation.done());
}

TEST(Generation, ItsEndCancelsWhatRuns) {
  TestServices test;
  test.runner.hold();
  {
    Running running(test, request_of(test, {{1}}));
    ASSERT_FALSE(running.error);
    EXPECT_FALSE(running.generation.next());
    EXPECT_THAT(described(running.generation), HasSubstr("finish=cancelled"));
  }
  test.runner.release();
  while (test.engine.stats().cancelled == 0) std::this_thread::yield();
}

TEST(Generation, TheEarlierDeadlineHolds) {
  const auto error_with = [](std::optional<int64_t> of_parameter, std::optional<int> of_transport) {
    TestServices test;
    test.runner.hold();
    Arrival arrival = arrival_now();
    if (of_transport) arrival.deadline = arrival.time + std::chrono::milliseconds(*of_transport);
    Running running(test,
                    request_of(test, {{1}},
                               [&](Parameters* given) {
                                 if (of_parameter) given->deadline_ms = *of_parameter;
                               }),
                    std::move(arrival));
    EXPECT_FALSE(running.error);
    test.runner.wait_until_held();
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    test.runner.release();
    while (running.wait()) {
    }
    return running.generation.error();
  };
  for (const auto& error : {error_with(20, std::nullopt), error_with(std::nullopt, 20),
                            error_with(20, 1'000'000), error_with(1'000'000, 20)}) {
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::kDeadline);
  }
  EXPECT_FALSE(error_with(1'000'000, 1'000'000));
}

TEST(Generation, AStoppedEngineIsAnError) {
  TestServices test;
  test.runner.hold();
  Running running(test,
                  request_of(test, {{1}}, [](Parameters* given) { given->max_tokens = 1 << 20; }));
  test.runner.wait_until_held();
  std::thread release([&] { test.runner.release(); });
  test.engine.stop();
  release.join();
  while (running.wait()) {
  }
  ASSERT_TRUE(running.generation.error());
  EXPECT_EQ(running.generation.error()->kind, ErrorKind::kUnavailable);
  Running late(test, request_of(test, {{1}}));
  ASSERT_TRUE(late.error);
  EXPECT_EQ(late.error->kind, ErrorKind::kUnavailable);
}

TEST(Generation, AFullQueueIsCounted) {
  TestServices test(/*slots=*/1, /*max_queue=*/1);
  test.runner.hold();
  Running first(test, request_of(test, {{1}}));
  test.runner.wait_until_held();
  Running second(test, request_of(test, {{1}}));
  EXPECT_FALSE(second.error);
  Running third(test, request_of(test, {{1}}));
  ASSERT_TRUE(third.error);
  EXPECT_EQ(third.error->kind, ErrorKind::kQueueFull);
  EXPECT_EQ(test.metrics.queue_full.value(), 1u);
}

TEST(Generation, EndsByNameWhereMemoryIsShort) {
  TestServices test;
  test.runner.hold();
  const auto endless = [](Parameters* given) { given->max_tokens = 1000; };
  Running large(test, request_of(test, {std::vector<int32_t>(200, 1)}, endless));
  Running small(test, request_of(test, {{1, 2, 3}}));
  EXPECT_TRUE(test.services->large_requests.end_largest());
  test.runner.release();
  while (large.wait()) {
  }
  ASSERT_TRUE(large.generation.error());
  EXPECT_EQ(large.generation.error()->kind, ErrorKind::kOverloaded);
  EXPECT_THAT(large.generation.error()->message, HasSubstr("memory"));
  while (small.wait()) {
  }
  EXPECT_FALSE(small.generation.error());
}

}  // namespace
}  // namespace deltaserve
