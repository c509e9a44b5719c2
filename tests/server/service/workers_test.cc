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
constexpr PrefixOwner kOne = {1}, kTwo = {2};

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
  ASSERT_TRUE(workers.post_compiling(kOne, compiling.work()));
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
  ASSERT_TRUE(workers.post_compiling(kOne, [&] { compiling.set_value(niceness()); }));
  workers.post_later([&] { later.set_value(niceness()); });
  EXPECT_EQ(small.get_future().get(), niceness());
  for (std::promise<int>* yielding : {&large, &huge, &compiling, &later}) {
    EXPECT_EQ(yielding->get_future().get(), std::min(niceness() + 10, 19));
  }
}

TEST(Workers, OwnersTakeTurnsWithTheirGrammars) {
  Blocker blocker;
  std::string order;
  std::promise<void> done;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kOne, blocker.work()));
  blocker.wait_until_running();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(workers.post_compiling(kOne, [&] { order += '1'; }));
  }
  ASSERT_TRUE(workers.post_compiling(kTwo, [&] { order += '2'; }));
  ASSERT_TRUE(workers.post_compiling({}, [&] { order += '0'; }));
  ASSERT_TRUE(workers.post_compiling(kOne, [&] { done.set_value(); }));
  blocker.release();
  done.get_future().wait();
  EXPECT_EQ(order, "12011");
}

TEST(Workers, AnOwnersGrammarsAreBounded) {
  Blocker blocker;
  Workers workers(kLarge, kHuge);
  ASSERT_TRUE(workers.post_compiling(kOne, blocker.work()));
  blocker.wait_until_running();
  for (size_t i = 0; i < Workers::kCompilations; ++i) {
    ASSERT_TRUE(workers.post_compiling(kOne, [] {}));
  }
  EXPECT_FALSE(workers.post_compiling(kOne, [] {}));
  EXPECT_TRUE(workers.post_compiling(kTwo, [] {}));
  blocker.release();
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
