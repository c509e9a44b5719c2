// Admission and the workers.
#include "server/service/services.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>

#include "tests/server/service/service_testing.h"

namespace deltaserve {
namespace {

TEST(Services, KeysAreAskedFor) {
  TestServices open;
  const auto owner_of = [](TestServices& test, const char* authorization) {
    return test.services->owner_of(authorization, "192.0.2.1");
  };
  EXPECT_EQ(std::get<PrefixOwner>(owner_of(open, "")), PrefixOwner{});
  TestServices closed(4, 8, *KeyRing::parse("secret\n", "keys"));
  EXPECT_NE(std::get<PrefixOwner>(owner_of(closed, "Bearer secret")), PrefixOwner{});
  const ApiError error = std::get<ApiError>(owner_of(closed, "Bearer other"));
  EXPECT_EQ(error.kind, ErrorKind::kUnauthenticated);
}

// Wrong keys of an address are refused as too many of them at some time, valid ones never.
TEST(Services, TooManyWrongKeysKeepNoValidOneOut) {
  TestServices test(4, 8, *KeyRing::parse("secret\n", "keys"));
  const auto kind_of = [&](std::string_view authorization) {
    return std::get<ApiError>(test.services->owner_of(authorization, "192.0.2.1")).kind;
  };
  const auto most = static_cast<int>(test.services->limits.wrong_keys.burst);
  for (int i = 0; i < most; ++i) EXPECT_EQ(kind_of("Bearer x"), ErrorKind::kUnauthenticated);
  int too_many = 0;
  for (int i = 0; i < 2 * most; ++i) {
    too_many += kind_of("") == ErrorKind::kTooManyWrongKeys ? 1 : 0;
  }
  EXPECT_GE(too_many, most);
  const auto owner = test.services->owner_of("Bearer secret", "192.0.2.1");
  EXPECT_TRUE(std::holds_alternative<PrefixOwner>(owner));
}

TEST(Services, AFullQueueRefusesWhatGenerates) {
  TestServices test(/*slots=*/1, /*max_queue=*/1);
  test.runner.hold();
  const auto first = test.engine.submit(request(1, 100));
  EXPECT_FALSE(test.services->admit(/*generates=*/true));
  const auto second = test.engine.submit(request(1, 100));
  ASSERT_TRUE(second.ok());
  const auto error = test.services->admit(true);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kQueueFull);
  EXPECT_EQ(test.metrics.queue_full.value(), 1u);
  EXPECT_FALSE(test.services->admit(/*generates=*/false));
}

TEST(Services, DrainingRefusesAllWork) {
  TestServices test;
  EXPECT_FALSE(test.services->draining());
  EXPECT_TRUE(test.services->drain());
  EXPECT_FALSE(test.services->drain());
  EXPECT_TRUE(test.services->draining());
  for (const bool generates : {false, true}) {
    const auto error = test.services->admit(generates);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::kUnavailable);
  }
  EXPECT_TRUE(test.engine.drained());
}

TEST(Workers, ALargeRequestDelaysNoSmallOne) {
  Workers workers(/*large_bytes=*/100, /*huge_bytes=*/1000);
  std::promise<void> small_done;
  std::promise<void> large_done;
  (void)workers.post({}, 101, [&] {
    small_done.get_future().wait();
    large_done.set_value();
  });
  (void)workers.post({}, 100, [&] { small_done.set_value(); });
  large_done.get_future().wait();
}

TEST(Workers, WhatNobodyWaitsForDelaysNobody) {
  Workers workers(/*large_bytes=*/100, /*huge_bytes=*/1000);
  std::promise<void> small_done;
  std::promise<void> later_done;
  workers.post_later([&] {
    small_done.get_future().wait();
    later_done.set_value();
  });
  (void)workers.post({}, 1, [&] { small_done.set_value(); });
  later_done.get_future().wait();
}

TEST(Workers, StopWaitsForWhatRunsAndDropsTheRest) {
  auto held = std::make_shared<int>(0);
  std::atomic<bool> ran_first{false}, ran_second{false};
  std::promise<void> begun, go_on;
  Workers workers(100, 1000);
  (void)workers.post({}, 1, [&] {
    begun.set_value();
    go_on.get_future().wait();
    ran_first = true;
  });
  (void)workers.post({}, 1, [&, held] { ran_second = true; });
  begun.get_future().wait();
  std::thread stopper([&] { workers.stop(); });
  while (held.use_count() > 1) std::this_thread::yield();  // the second is dropped
  go_on.set_value();
  stopper.join();
  EXPECT_TRUE(ran_first);
  EXPECT_FALSE(ran_second);
  (void)workers.post({}, 1, [held] {});
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace deltaserve
