// Tests what one client may take of what all share: memory and wrong keys. Tests also which ports
// count as reachable.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "server/base/memory_budget.h"
#include "server/service/ports.h"
#include "server/service/wrong_keys.h"

namespace deltaserve {
namespace {

constexpr PrefixOwner kOne = {1}, kTwo = {2}, kThree = {3};

TEST(MemoryBudget, NoOwnerHoldsMoreThanItLeavesFree) {
  MemoryBudget budget(120);
  budget.set_shared(true);
  MemoryBudget::Lease first(&budget, kOne), more(&budget, kOne);
  EXPECT_TRUE(first.grow_to(50));
  EXPECT_FALSE(more.grow_to(11));
  EXPECT_TRUE(more.grow_to(10));
  // However much the first holds, something is left for the next, and for one after it.
  MemoryBudget::Lease second(&budget, kTwo), third(&budget, kThree);
  EXPECT_FALSE(second.grow_to(31));
  EXPECT_TRUE(second.grow_to(30));
  EXPECT_FALSE(third.grow_to(16));
  EXPECT_TRUE(third.grow_to(15));
  EXPECT_EQ(budget.held(), 105u);
  EXPECT_FALSE(more.grow_to(11));
}

TEST(MemoryBudget, TheOnlyOwnerMayHoldAllOfIt) {
  MemoryBudget budget(100);
  MemoryBudget::Lease lease(&budget, kOne);
  EXPECT_TRUE(lease.grow_to(100));
}

TEST(MemoryBudget, RepliesMayBeLargeWhereRequestsMayNot) {
  MemoryBudget budget(100);
  budget.set_most_for_one(10);
  MemoryBudget::Lease lease(&budget);
  EXPECT_FALSE(lease.grow_to(11));
  EXPECT_TRUE(lease.resize_to(60));
  EXPECT_FALSE(lease.resize_to(101));
  EXPECT_EQ(lease.bytes(), 60u);
  EXPECT_TRUE(lease.resize_to(5));
  EXPECT_EQ(budget.held(), 5u);
}

TEST(WrongKeys, AnAddressHasARateAndOthersTheirOwn) {
  using Verdict = WrongKeys::Verdict;
  WrongKeys keys({.burst = 3, .per_second = 1});
  const TokenBucket::Time now{};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(keys.count("192.0.2.1", now), Verdict::kRefuse);
  EXPECT_EQ(keys.count("192.0.2.1", now), Verdict::kBegins);
  EXPECT_EQ(keys.count("192.0.2.1", now), Verdict::kTooMany);
  // At most a few of a hundred addresses share the place of the first.
  int refused = 0;
  for (int i = 2; i < 102; ++i) {
    refused += keys.count("192.0.2." + std::to_string(i), now) == Verdict::kRefuse ? 1 : 0;
  }
  EXPECT_GE(refused, 95);
  const TokenBucket::Time later = now + std::chrono::seconds(2);
  EXPECT_EQ(keys.count("192.0.2.1", later), Verdict::kRefuse);
  EXPECT_EQ(keys.count("192.0.2.1", later), Verdict::kRefuse);
  EXPECT_EQ(keys.count("192.0.2.1", later), Verdict::kBegins);
}

TEST(Ports, AllMustAccept) {
  Metrics metrics;
  Logger log(LogFormat::kText, LogLevel::kError, -1);
  Ports ports(&metrics, &log);
  std::string seen;
  ports.set_observer([&](bool all_accept) { seen += all_accept ? 'y' : 'n'; });
  ports.set_accepting("http", true);
  EXPECT_EQ(seen, "");
  ports.set_accepting("grpc", false, "no descriptors");
  ports.set_accepting("grpc", false, "no descriptors");
  EXPECT_EQ(ports.deaf(), std::vector<std::string>{"grpc"});
  ports.set_accepting("http", false, "no descriptors");
  ports.set_accepting("grpc", true);
  EXPECT_EQ(ports.deaf(), std::vector<std::string>{"http"});
  ports.set_accepting("http", true);
  EXPECT_TRUE(ports.deaf().empty());
  EXPECT_EQ(seen, "nnny");
  EXPECT_EQ(metrics.deaf_ports.values().size(), 2u);
  ports.set_observer(nullptr);
  ports.set_accepting("http", false);
  EXPECT_EQ(seen, "nnny");
}

}  // namespace
}  // namespace deltaserve
