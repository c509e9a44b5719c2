#include "engine/sequence/token_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "engine/base/limits.h"

namespace deltaserve {
namespace {

TokenUpdate token(int32_t id, std::string text) {
  TokenUpdate update;
  update.tokens = {id};
  update.text = std::move(text);
  return update;
}

TokenUpdate progress(int64_t read) {
  TokenUpdate update;
  update.prompt_tokens_read = read;
  return update;
}

TokenUpdate finished(FinishReason reason) {
  TokenUpdate update;
  update.finish = reason;
  return update;
}

TEST(TokenStream, TakeMerges) {
  TokenStream stream(8, nullptr);
  EXPECT_FALSE(stream.take());
  stream.push(token(1, "a"));
  stream.push(token(2, "b"));
  TokenUpdate last = finished(FinishReason::kStop);
  last.tokens_generated = 3;
  last.stop_string = "x";
  stream.push(last);
  const auto update = stream.take();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->text, "ab");
  EXPECT_EQ(update->tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(update->tokens_generated, 3);
  EXPECT_EQ(update->finish, FinishReason::kStop);
  EXPECT_EQ(update->stop_string, "x");
  EXPECT_FALSE(stream.take());
  EXPECT_FALSE(stream.wait());
}

TEST(TokenStream, IsFullByBytesToo) {
  TokenStream stream(1000, nullptr);
  int updates = 0;
  for (; !stream.full(); ++updates) {
    TokenUpdate scores;
    scores.prompt_logprobs.resize(1000);
    stream.push(std::move(scores));
  }
  EXPECT_LE(updates,
            static_cast<int>(engine_limits::kStreamBytes / (1000 * sizeof(TokenLogprob))) + 1);
  ASSERT_TRUE(stream.take());
  EXPECT_FALSE(stream.full());
}

TEST(TokenStream, NotifiesWhenItWasEmpty) {
  int notified = 0;
  TokenStream stream(8, [&] { ++notified; });
  stream.push(token(1, "a"));
  stream.push(token(2, "b"));
  EXPECT_EQ(notified, 1);
  stream.take();
  stream.push(token(3, "c"));
  EXPECT_EQ(notified, 2);
}

TEST(TokenStream, ReleasesNotifyAtTheEnd) {
  auto owned = std::make_shared<int>(0);
  TokenStream stream(8, [owned] {});
  stream.push(token(1, "a"));
  EXPECT_EQ(owned.use_count(), 2);
  stream.push(finished(FinishReason::kLength));
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TokenStream, ProgressAloneFillsNothing) {
  TokenStream stream(2, nullptr);
  for (int i = 1; i <= 100; ++i) stream.push(progress(i));
  EXPECT_FALSE(stream.full());
  stream.push(token(1, "a"));
  EXPECT_TRUE(stream.full());
  EXPECT_EQ(stream.take()->text, "a");
  EXPECT_FALSE(stream.full());
  stream.push(progress(101));
  EXPECT_EQ(stream.take()->prompt_tokens_read, 101);
}

TEST(TokenStream, WaitsForThePush) {
  TokenStream stream(8, nullptr);
  std::thread writer([&] {
    stream.push(token(1, "a"));
    stream.push(finished(FinishReason::kStop));
  });
  std::string text;
  FinishReason reason = FinishReason::kNone;
  while (auto update = stream.wait()) {
    text += update->text;
    reason = update->finish;
  }
  writer.join();
  EXPECT_EQ(text, "a");
  EXPECT_EQ(reason, FinishReason::kStop);
}

TEST(TokenStream, RingsTheEngine) {
  auto doorbell = std::make_shared<Doorbell>();
  TokenStream stream(1, nullptr, doorbell);
  stream.push(token(1, "a"));
  stream.take();
  doorbell->wait();  // hangs unless take() rang
  stream.cancel();
  doorbell->wait();
  EXPECT_TRUE(stream.cancelled());
}

TEST(TokenStreamDeathTest, NothingFollowsTheEnd) {
  TokenStream stream(8, nullptr);
  stream.push(finished(FinishReason::kStop));
  EXPECT_DEATH(stream.push(token(1, "a")), "invariant broken");
}

}  // namespace
}  // namespace deltaserve
