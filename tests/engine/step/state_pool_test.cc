#include "engine/step/state_pool.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

namespace deltaserve {
namespace {

TEST(StatePool, GivesEverySlotOnce) {
  StatePool pool(3);
  std::vector<StateSlot> held;
  std::set<int> seen;
  while (StateSlot slot = pool.acquire()) {
    seen.insert(slot.index());
    held.push_back(std::move(slot));
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_FALSE(pool.acquire());
  held.pop_back();
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_TRUE(pool.acquire());
}

TEST(StatePool, MovesDoNotFreeTwice) {
  StatePool pool(2);
  StateSlot a = pool.acquire();
  const int index = a.index();
  StateSlot b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: what a moved-from slot is, is the point
  EXPECT_EQ(b.index(), index);
  b = pool.acquire();  // frees the first
  EXPECT_EQ(pool.num_free(), 1);
  StateSlot& alias = b;
  b = std::move(alias);
  EXPECT_TRUE(b);
  b.release();
  b.release();
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(StatePoolDeathTest, ALeakIsNoticed) {
  EXPECT_DEATH(
      {
        auto* pool = new StatePool(1);
        StateSlot slot = pool->acquire();
        delete pool;
      },
      "invariant broken");
  EXPECT_DEATH(StateSlot().index(), "invariant broken");
}

}  // namespace
}  // namespace deltaserve
