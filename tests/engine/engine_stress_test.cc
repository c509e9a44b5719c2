// Many threads at once; most telling under ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "tests/engine/fake_runner.h"

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
  return request;
}

// One client: reads, reads slowly, cancels, or walks away.
void be_a_client(Engine& engine, uint32_t seed, std::atomic<int>* accepted) {
  std::mt19937 random(seed);
  for (int round = 0; round < kRoundsPerThread; ++round) {
    auto notified = std::make_shared<std::atomic<int>>(0);
    auto stream = engine.submit(random_request(random), [notified] { ++*notified; });
    if (!stream.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(stream.status()) ||
                  absl::IsUnavailable(stream.status()))
          << stream.status();
      std::this_thread::yield();
      continue;
    }
    ++*accepted;
    TokenStream& reader = **stream;
    switch (random() % 5) {
      case 0: break;  // walks away
      case 1:
        reader.cancel();
        read_all(reader);
        break;
      case 2: {
        std::thread canceller([&] { reader.cancel(); });
        read_all(reader);
        canceller.join();
        break;
      }
      default: {
        const FinishReason finish = read_all(reader).finish;
        EXPECT_NE(finish, FinishReason::kNone);
      }
    }
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

TEST(EngineStress, CancelStormsLeakNoSlot) {
  const Vocabulary vocabulary = byte_vocabulary();
  FakeRunner runner(256, 4);
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
  EXPECT_GT(stats.cancelled, 0);
  EXPECT_LT(stats.cancelled, stats.finished);
  // And ~StatePool checks that every slot came back.
}

TEST(EngineStress, StopInTheMiddle) {
  const Vocabulary vocabulary = byte_vocabulary();
  for (uint32_t round = 0; round < 5; ++round) {
    FakeRunner runner(256, 3);
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

TEST(EngineStress, SlowReadersAndFastOnesGetTheSameText) {
  const Vocabulary vocabulary = byte_vocabulary();
  FakeRunner runner(256, 4);
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
      const auto stream = *engine.submit(request);
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

}  // namespace
}  // namespace deltaserve
