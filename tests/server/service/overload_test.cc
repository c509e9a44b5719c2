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
      {0.79, Pressure::kNoLargeBodies}, {0.92, Pressure::kRefuseNew},
      {1.70, Pressure::kEndLargest},    {0.91, Pressure::kEndLargest},
      {0.89, Pressure::kRefuseNew},     {0.10, Pressure::kNone}};
  for (const auto& [share, pressure] : kSteps) EXPECT_EQ(gauge.update(share), pressure) << share;
}

class OverloadTest : public testing::Test {
 protected:
  OverloadTest() {
    overload_.watch({.name = "memory",
                     .use =
                         [this] {
                           return Overload::Use{memory_, 1000};
                         },
                     .trim = [this] { done_ += 't'; },
                     .end_largest =
                         [this] {
                           done_ += 'e';
                           return true;
                         },
                     .users = Overload::kRequests});
    overload_.watch({.name = "connections",
                     .use =
                         [this] {
                           return Overload::Use{connections_, 100};
                         },
                     .trim = [this] { done_ += 'i'; }});
    overload_.watch({.name = "grpc_connections",
                     .use =
                         [this] {
                           return Overload::Use{grpc_connections_, 100};
                         },
                     .users = Overload::kGrpcConnections});
    overload_.watch({.name = "unknown", .use = [] { return Overload::Use{1, 0}; }});
  }

  uint64_t memory_ = 0;
  uint64_t connections_ = 0;
  uint64_t grpc_connections_ = 0;
  std::string done_;  // what was asked for, a letter each
  Metrics metrics_;
  Logger log_{LogFormat::kText, LogLevel::kError, -1};
  Overload overload_{[this](bool yes) { done_ += yes ? 'L' : 'l'; }, &metrics_, &log_};

  std::string sample() {
    done_.clear();
    overload_.sample();
    return done_;
  }
  std::string at(uint64_t memory) {
    memory_ = memory;
    return sample();
  }
};

TEST_F(OverloadTest, MeasuresAreTakenOnceAndRequestsEndOneByOne) {
  EXPECT_EQ(at(500), "");
  EXPECT_EQ(at(820), "l");
  EXPECT_EQ(at(830), "");
  EXPECT_EQ(at(860), "t");
  EXPECT_TRUE(overload_.takes_requests());
  EXPECT_EQ(at(910), "");  // the caches were trimmed
  EXPECT_FALSE(overload_.takes_requests());
  EXPECT_TRUE(overload_.takes_connections(Overload::kHttpConnections));
  EXPECT_EQ(at(960), "e");
  EXPECT_EQ(at(960), "e");
  EXPECT_EQ(at(500), "L");
  EXPECT_TRUE(overload_.takes_requests());
  EXPECT_EQ(metrics_.overload_actions.values().size(), 6u);
}

// Each resource has its own measures; what both ask for ends when neither asks any more.
TEST_F(OverloadTest, ConnectionsAreRefusedInTheirOwnOrder) {
  connections_ = 82;
  EXPECT_EQ(sample(), "l");
  EXPECT_EQ(at(820), "");
  connections_ = 86;
  EXPECT_EQ(sample(), "i");
  connections_ = 91;
  EXPECT_EQ(sample(), "");
  EXPECT_FALSE(overload_.takes_connections(Overload::kHttpConnections));
  EXPECT_TRUE(overload_.takes_requests());
  connections_ = 99;  // nothing of it can be ended
  EXPECT_EQ(sample(), "");
  connections_ = 10;
  EXPECT_EQ(sample(), "");
  EXPECT_TRUE(overload_.takes_connections(Overload::kHttpConnections));
  EXPECT_EQ(at(100), "L");
}

// Whoever takes all places of one port takes nothing from those who come over the other.
TEST_F(OverloadTest, APortIsFullForItsOwnConnectionsOnly) {
  grpc_connections_ = 100;
  EXPECT_EQ(sample(), "");
  EXPECT_FALSE(overload_.takes_connections(Overload::kGrpcConnections));
  EXPECT_FALSE(overload_.takes_large_bodies(Overload::kGrpcConnections));
  EXPECT_TRUE(overload_.takes_connections(Overload::kHttpConnections));
  EXPECT_TRUE(overload_.takes_large_bodies(Overload::kHttpConnections));
  EXPECT_TRUE(overload_.takes_requests());
  grpc_connections_ = 0;
  connections_ = 91;
  EXPECT_EQ(sample(), "li");
  EXPECT_FALSE(overload_.takes_connections(Overload::kGrpcConnections));
  EXPECT_FALSE(overload_.takes_connections(Overload::kHttpConnections));
}

TEST_F(OverloadTest, ItsThreadEnds) {
  overload_.start();
  overload_.stop();
  overload_.stop();
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
  LargeRequests::Entry grown = list.add(2, [&] { ended += 'r'; });
  grown.set_bytes(1000);  // its reply
  EXPECT_TRUE(list.end_largest());
  EXPECT_TRUE(list.end_largest());
  EXPECT_TRUE(list.end_largest());
  EXPECT_FALSE(list.end_largest());
  EXPECT_EQ(ended, "rls");
}

}  // namespace
}  // namespace deltaserve
