#include "server/service/overload.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/service/large_requests.h"

namespace deltaserve {
namespace {

TEST(PressureGauge, MeasuresBeginAndEndApart) {
  PressureGauge gauge;
  const std::vector<std::pair<double, Pressure>> kSteps = {
      {0.10, Pressure::kNone},          {0.79, Pressure::kNone},
      {0.80, Pressure::kNoLargeBodies}, {0.76, Pressure::kNoLargeBodies},
      {0.74, Pressure::kNone},          {0.78, Pressure::kNone},
      {0.86, Pressure::kTrimCaches},    {0.81, Pressure::kTrimCaches},
      {0.79, Pressure::kNoLargeBodies}, {0.92, Pressure::kNoRequests},
      {1.70, Pressure::kEndLargest},    {0.91, Pressure::kEndLargest},
      {0.89, Pressure::kNoRequests},    {0.10, Pressure::kNone}};
  for (const auto& [share, pressure] : kSteps) EXPECT_EQ(gauge.update(share), pressure) << share;
}

class OverloadTest : public testing::Test {
 protected:
  uint64_t resident_ = 0;
  std::string done_;  // what was asked for, a letter each
  Metrics metrics_;
  Logger log_{LogFormat::kText, LogLevel::kError, -1};
  Overload overload_{1000,
                     [this] { return resident_; },
                     {.allow_large_bodies = [this](bool yes) { done_ += yes ? 'L' : 'l'; },
                      .trim_caches = [this] { done_ += 't'; },
                      .end_largest =
                          [this] {
                            done_ += 'e';
                            return true;
                          }},
                     &metrics_,
                     &log_};

  std::string at(uint64_t resident) {
    done_.clear();
    resident_ = resident;
    overload_.sample();
    return done_;
  }
};

TEST_F(OverloadTest, MeasuresAreTakenOnceAndRequestsEndOneByOne) {
  EXPECT_EQ(at(500), "");
  EXPECT_EQ(at(820), "l");
  EXPECT_EQ(at(830), "");
  EXPECT_EQ(at(860), "lt");
  EXPECT_TRUE(overload_.takes_requests());
  EXPECT_EQ(at(910), "l");  // the caches were trimmed
  EXPECT_FALSE(overload_.takes_requests());
  EXPECT_EQ(at(960), "le");
  EXPECT_EQ(at(960), "e");
  EXPECT_EQ(at(500), "L");
  EXPECT_TRUE(overload_.takes_requests());
  EXPECT_EQ(metrics_.overload_actions.values().size(), 6u);
}

TEST_F(OverloadTest, ItsThreadEnds) {
  overload_.start();
  overload_.stop();
  overload_.stop();
}

TEST(OverloadWithoutLimit, DoesNothing) {
  Metrics metrics;
  Logger log(LogFormat::kText, LogLevel::kError, -1);
  Overload overload(
      0, [] { return UINT64_MAX; }, {}, &metrics, &log);
  overload.start();
  overload.sample();
  EXPECT_TRUE(overload.takes_requests());
}

TEST(LargeRequests, TheLargestEndsFirst) {
  LargeRequests list;
  std::string ended;
  LargeRequests::Entry small = list.add(1, [&] { ended += 's'; });
  LargeRequests::Entry large = list.add(100, [&] { ended += 'l'; });
  {
    const LargeRequests::Entry gone = list.add(1000, [&] { ended += 'g'; });
  }
  LargeRequests::Entry moved = std::move(large);
  EXPECT_TRUE(list.end_largest());
  EXPECT_TRUE(list.end_largest());
  EXPECT_FALSE(list.end_largest());
  EXPECT_EQ(ended, "ls");
}

}  // namespace
}  // namespace deltaserve
