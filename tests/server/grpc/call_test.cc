#include "server/grpc/call.h"

#include <gtest/gtest.h>

#include <chrono>

namespace deltaserve {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// The client's library and ours both watch the deadline, and either may be first.
TEST(CancelledStatus, ACallThatEndsAtItsDeadlineIsLate) {
  const Clock::time_point now = Clock::now();
  const auto code = [now](Clock::time_point deadline) {
    return cancelled_status(deadline, now).error_code();
  };
  EXPECT_EQ(code(now - hours(1)), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(code(now), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(code(now + milliseconds(10)), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(code(now + hours(1)), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(code(Clock::time_point::max()), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace deltaserve
