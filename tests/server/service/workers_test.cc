#include "server/service/workers.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <thread>

namespace deltaserve {
namespace {

constexpr size_t kLarge = 1000;
constexpr PrefixOwner kOne = {1}, kTwo = {2};

// Holds a thread of the workers until it is released.
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

TEST(Workers, LargeWorkAndCompilingDelayNoSmallWork) {
  Workers workers(kLarge);
  Blocker large, compiling, later;
  workers.post(kLarge + 1, large.work());
  ASSERT_TRUE(workers.post_compiling(kOne, compiling.work()));
  workers.post_later(later.work());
  std::promise<void> done;
  workers.post(kLarge, [&] { done.set_value(); });
  done.get_future().wait();
  for (Blocker* blocker : {&large, &compiling, &later}) {
    blocker->wait_until_running();
    blocker->release();
  }
}

TEST(Workers, OwnersTakeTurnsWithTheirGrammars) {
  Workers workers(kLarge);
  Blocker blocker;
  ASSERT_TRUE(workers.post_compiling(kOne, blocker.work()));
  blocker.wait_until_running();
  std::string order;
  std::promise<void> done;
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
  Workers workers(kLarge);
  Blocker blocker;
  ASSERT_TRUE(workers.post_compiling(kOne, blocker.work()));
  blocker.wait_until_running();
  for (size_t i = 0; i < Workers::kCompilations; ++i) {
    ASSERT_TRUE(workers.post_compiling(kOne, [] {}));
  }
  EXPECT_FALSE(workers.post_compiling(kOne, [] {}));
  EXPECT_TRUE(workers.post_compiling(kTwo, [] {}));
  blocker.release();
}

TEST(Workers, WhatWaitsIsDroppedAtTheEnd) {
  auto kept = std::make_shared<int>(0);
  Workers workers(kLarge);
  Blocker blocker;
  workers.post(0, blocker.work());
  blocker.wait_until_running();
  workers.post(0, [kept] { ++*kept; });
  std::thread stopper([&] { workers.stop(); });
  while (kept.use_count() > 1) std::this_thread::yield();
  blocker.release();
  stopper.join();
  EXPECT_EQ(*kept, 0);
}

}  // namespace
}  // namespace deltaserve
