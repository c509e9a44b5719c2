#include "server/base/memory_budget.h"

#include <gtest/gtest.h>

#include <utility>

namespace deltaserve {
namespace {

TEST(MemoryBudget, LeasesReturnWhatTheyHold) {
  MemoryBudget budget(10);
  {
    MemoryBudget::Lease first(&budget);
    EXPECT_TRUE(first.grow_to(4));
    EXPECT_TRUE(first.grow_to(6));
    EXPECT_TRUE(first.grow_to(3));
    MemoryBudget::Lease second(&budget);
    EXPECT_FALSE(second.grow_to(5));
    EXPECT_TRUE(second.grow_to(4));
    MemoryBudget::Lease moved(std::move(first));
    EXPECT_FALSE(moved.grow_to(7));
  }
  MemoryBudget::Lease again(&budget);
  EXPECT_TRUE(again.grow_to(10));
}

}  // namespace
}  // namespace deltaserve
