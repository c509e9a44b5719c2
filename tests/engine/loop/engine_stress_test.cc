// Runs many threads at once; most useful under ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
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

constexpr int kThreads = 8;
constexpr int kRoundsPerThread = 60;

GenerateRequest random_request(std::mt19937& random) {
  GenerateRequest request;
  request.prompt.assign(1 + random() % 300, static_cast<int32_t>(random() % 256));
  request.max_tokens = random() % 20;
  request.sampling.seed = random();
  if (random() % 3 == 0) request.stop = {"ab", "xyz"};
  if (random() % 4 == 0) request.prompt_logprobs = static_cast<int32_t>(random() % 3);
  if (random() % 3 == 0) request.sampling.repetition_penalty = 1.5f;
  if (random() % 4 == 0) request.min_tokens = request.max_tokens / 2;
  request.priority = static_cast<int32_t>(random() % 3);
  if (random() % 4 == 0) {
    request.deadline =
        std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 3000);
  }
  return request;
}

// Acts as one reader, which reads, cancels, or leaves.
void read(std::shared_ptr<TokenStream> stream, uint32_t how) {
  switch (how % 5) {
    case 0: break;  // walks away
    case 1:
      stream->cancel();
      read_all(*stream);
      break;
    case 2: {
      std::thread canceller([&] { stream->cancel(); });
      read_all(*stream);
      canceller.join();
      break;
    }
    default: {
      const FinishReason finish = read_all(*stream).finish;
      EXPECT_NE(finish, FinishReason::kNone);
    }
  }
}

// Submits one or more choices at a time; `accepted` counts choices.
void be_a_client(Engine& engine, uint32_t seed, std::atomic<int>* accepted) {
  std::mt19937 random(seed);
  for (int round = 0; round < kRoundsPerThread; ++round) {
    auto notified = std::make_shared<std::atomic<int>>(0);
    const int num_choices = 1 + static_cast<int>(random() % 3);
    auto streams =
        engine.submit_choices(random_request(random), num_choices, [notified] { ++*notified; });
    if (!streams.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(streams.status()) ||
                  absl::IsDeadlineExceeded(streams.status()) ||
                  absl::IsUnavailable(streams.status()))
          << streams.status();
      std::this_thread::yield();
      continue;
    }
    *accepted += num_choices;
    // The streams are read at the same time, because prompt log-probabilities need all readers to
    // keep up.
    std::vector<std::thread> readers;
    for (auto& stream : *streams) {
      readers.emplace_back(read, std::move(stream), static_cast<uint32_t>(random()));
    }
    for (std::thread& reader : readers) reader.join();
  }
}

EngineOptions small_options() {
  EngineOptions options;
  options.max_queued_requests = 10;
  options.stream_capacity = 2;
  options.max_step_tokens = 128;
  options.eos_token_ids = {kTestEos};
  return options;
}

class EngineStressTest : public BothWays {};
DELTASERVE_BOTH_WAYS(EngineStressTest);

TEST_P(EngineStressTest, CancelStormsLeakNoSlot) {
  const Vocabulary vocabulary = byte_vocabulary();
  FakeRunner runner(steps_ahead(), 256, 4);
  Engine engine(&runner, &vocabulary, small_options());
  std::atomic<int> accepted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { be_a_client(engine, static_cast<uint32_t>(i), &accepted); });
  }
  for (std::thread& thread : threads) thread.join();
  engine.drain();
  while (!engine.drained()) std::this_thread::yield();
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.finished, accepted.load());
  EXPECT_EQ(stats.finished, stats.finished_stop + stats.finished_length + stats.cancelled +
                                stats.deadline_exceeded + stats.errors);
  EXPECT_GT(stats.cancelled, 0);
  EXPECT_GT(stats.finished_length, 0);
  EXPECT_EQ(stats.errors, 0);
  // ~StatePool checks that every slot came back.
}

TEST_P(EngineStressTest, StopInTheMiddle) {
  const Vocabulary vocabulary = byte_vocabulary();
  for (uint32_t round = 0; round < 5; ++round) {
    FakeRunner runner(steps_ahead(), 256, 3);
    Engine engine(&runner, &vocabulary, small_options());
    std::atomic<int> accepted{0};
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { be_a_client(engine, round * 100 + i, &accepted); });
    }
    while (accepted < 20) std::this_thread::yield();
    std::thread other([&] { engine.stop(); });
    engine.stop();
    other.join();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(engine.stats().finished, accepted.load());
  }
}

TEST_P(EngineStressTest, SlowReadersAndFastOnesGetTheSameText) {
  const Vocabulary vocabulary = byte_vocabulary();
  FakeRunner runner(steps_ahead(), 256, 4);
  EngineOptions options = small_options();
  options.max_queued_requests = 1000;
  Engine engine(&runner, &vocabulary, options);
  GenerateRequest request;
  request.prompt = tokens_of("the same prompt");
  request.max_tokens = 60;
  std::vector<std::string> texts(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const auto stream = *engine.submit(request.clone());
      while (auto update = stream->wait()) {
        texts[i] += update->text;
        if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) {
    EXPECT_EQ(text.size(), 60u);
    EXPECT_EQ(text, texts[0]);
  }
}

// Slots are scarce, so groups wait for each other. Whichever choices are cancelled, the others get
// the text that they would get alone.
TEST_P(EngineStressTest, ChoicesAmongCancelsGetTheirText) {
  const Vocabulary vocabulary = byte_vocabulary();
  FakeRunner runner(steps_ahead(), 256, 4);
  EngineOptions options = small_options();
  options.max_queued_requests = 1000;
  Engine engine(&runner, &vocabulary, options);
  GenerateRequest request;
  request.prompt.assign(400, 'p');
  request.max_tokens = 40;
  std::vector<std::string> expected;
  const auto first = *engine.submit_choices(request.clone(), 3);
  for (const auto& stream : first) expected.push_back(read_all(*stream).text);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (uint32_t round = 0; round < 10; ++round) {
        auto streams = *engine.submit_choices(request.clone(), 3);
        const uint32_t left_out = (i + round) % 3;
        std::thread canceller([&] { streams[left_out]->cancel(); });
        for (uint32_t choice = 0; choice < 3; ++choice) {
          const TokenUpdate update = read_all(*streams[choice]);
          if (choice == left_out && update.finish == FinishReason::kCancelled) continue;
          EXPECT_EQ(update.text, expected[choice]);
        }
        canceller.join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace deltaserve
