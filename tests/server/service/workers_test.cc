#include "server/service/workers.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "models/base/cancellation.h"

namespace deltaserve {
namespace {

constexpr size_t kLarge = 1000, kHuge = 2000;
constexpr PrefixOwner kOne = {1}, kTwo = {2}, kThree = {3};

// Holds a thread of the workers until it is released. It must outlive the workers.
class Blocker {
 public:
  Workers::Work work() {
    return [this] {
      running_.set_value();
      released_.get_future().wait();
    };
  }
  void wait_until_running() { running_.get_future().wait(); }
  void release() { released_.set_value(); }

 private:
  std::promise<void> running_, released_;
};

TEST(Workers, LargerWorkAndCompilingDelayNoSmallerWork) {
  Blocker large, huge, compiling, later;
  std::promise<void> done;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post(kOne, kHuge + 1, huge.work()));
  ASSERT_TRUE(workers.post(kOne, kHuge, large.work()));
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, compiling.work()));
  workers.post_later(later.work());
  ASSERT_TRUE(workers.post(kOne, kLarge, [&] { done.set_value(); }));
  done.get_future().wait();
  for (Blocker* blocker : {&large, &huge, &compiling, &later}) {
    blocker->wait_until_running();
    blocker->release();
  }
}

// Returns the niceness of the calling thread.
int niceness() {
  return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
}

TEST(Workers, AllButTheSmallRequestsYieldToTheEngine) {
  std::promise<int> small, large, huge, compiling, later;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post(kOne, kLarge, [&] { small.set_value(niceness()); }));
  ASSERT_TRUE(workers.post(kOne, kHuge, [&] { large.set_value(niceness()); }));
  ASSERT_TRUE(workers.post(kOne, kHuge + 1, [&] { huge.set_value(niceness()); }));
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, [&] { compiling.set_value(niceness()); }));
  workers.post_later([&] { later.set_value(niceness()); });
  EXPECT_EQ(small.get_future().get(), niceness());
  for (std::promise<int>* yielding : {&large, &huge, &later}) {
    EXPECT_EQ(yielding->get_future().get(), std::min(niceness() + 10, 19));
  }
  EXPECT_EQ(compiling.get_future().get(), std::min(niceness() + 15, 19));
}

TEST(Workers, OwnersTakeTurnsWithTheirGrammars) {
  Blocker blocker, of_another;
  std::string order;
  std::promise<void> done;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kThree, nullptr, of_another.work()));
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, blocker.work()));
  of_another.wait_until_running();  // and one thread is left
  blocker.wait_until_running();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(workers.post_compiling(kOne, nullptr, [&] { order += '1'; }));
  }
  ASSERT_TRUE(workers.post_compiling(kTwo, nullptr, [&] { order += '2'; }));
  ASSERT_TRUE(workers.post_compiling({}, nullptr, [&] { order += '0'; }));
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, [&] { done.set_value(); }));
  blocker.release();
  done.get_future().wait();
  EXPECT_EQ(order, "12011");
  of_another.release();
}

// A grammar can take a second: it does not keep another owner's from being compiled.
TEST(Workers, OwnersDoNotWaitForTheGrammarOfAnother) {
  Blocker blocker;
  std::atomic<bool> second_of_one{false};
  std::promise<bool> of_two;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, blocker.work()));
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, [&] { second_of_one = true; }));
  blocker.wait_until_running();
  ASSERT_TRUE(workers.post_compiling(kTwo, nullptr, [&] { of_two.set_value(second_of_one); }));
  EXPECT_FALSE(of_two.get_future().get());
  blocker.release();
}

TEST(Workers, AnOwnersGrammarsAreBounded) {
  Blocker blocker;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, blocker.work()));
  blocker.wait_until_running();
  for (size_t i = 0; i < Workers::kCompilations; ++i) {
    ASSERT_TRUE(workers.post_compiling(kOne, nullptr, [] {}));
  }
  EXPECT_FALSE(workers.post_compiling(kOne, nullptr, [] {}));
  EXPECT_TRUE(workers.post_compiling(kTwo, nullptr, [] {}));
  blocker.release();
}

// Whoever leaves keeps no place in the queue.
TEST(Workers, GrammarsOfClientsThatLeftMakeRoom) {
  Blocker blocker;
  std::atomic<bool> there{true};
  std::atomic<size_t> done{0};
  std::promise<void> last;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kOne, nullptr, blocker.work()));
  blocker.wait_until_running();
  for (size_t i = 0; i < Workers::kCompilations; ++i) {
    ASSERT_TRUE(workers.post_compiling(
        kOne, [&, i] { return i == 0 || there; }, [&] { ++done; }));
  }
  EXPECT_FALSE(workers.post_compiling(kOne, nullptr, [] {}));
  there = false;
  EXPECT_TRUE(workers.post_compiling(kOne, nullptr, [&] { last.set_value(); }));
  EXPECT_EQ(workers.most_waiting(), 2u);
  blocker.release();
  last.get_future().wait();
  EXPECT_EQ(done, 1u);
}

// Whoever sends many requests delays another by one of them, and cannot fill the queue.
TEST(Workers, OwnersTakeTurnsWithTheirRequests) {
  Blocker blocker;
  std::atomic<int> first{0};
  std::promise<int> before_second;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post(kOne, 1, blocker.work()));
  blocker.wait_until_running();
  for (size_t i = 0; i < Workers::kRequestsOfOwner; ++i) {
    ASSERT_TRUE(workers.post(kOne, 1, [&] { ++first; }));
  }
  EXPECT_FALSE(workers.post(kOne, 1, [] {}));
  EXPECT_EQ(workers.most_waiting(), Workers::kRequestsOfOwner);
  ASSERT_TRUE(workers.post(kTwo, 1, [&] { before_second.set_value(first); }));
  blocker.release();
  EXPECT_LE(before_second.get_future().get(), 1);
}

TEST(Workers, StopEndsWorkThatAsks) {
  std::promise<void> begun;
  absl::StatusCode ended = absl::StatusCode::kOk;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post(kOne, 1, [&] {
    begun.set_value();
    absl::Status status;
    while (status.ok()) status = check_wanted(kStepsPerQuestion);
    ended = status.code();
  }));
  begun.get_future().wait();
  workers.stop();
  EXPECT_EQ(ended, absl::StatusCode::kCancelled);
}

TEST(Workers, WhatWaitsIsDroppedAtTheEnd) {
  auto kept = std::make_shared<int>(0);
  Blocker blocker;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post({}, 0, blocker.work()));
  blocker.wait_until_running();
  ASSERT_TRUE(workers.post({}, 0, [kept] { ++*kept; }));
  std::thread stopper([&] { workers.stop(); });
  while (kept.use_count() > 1) std::this_thread::yield();
  blocker.release();
  stopper.join();
  EXPECT_EQ(*kept, 0);
}

}  // namespace
}  // namespace deltaserve
