// The prefix index against its rule (linear_index.h), and how many values it computes.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/reuse/prefix_index.h"
#include "tests/engine/reuse/linear_index.h"

namespace deltaserve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr PrefixIndex::Time kStart{seconds(1000)};
constexpr int kOwn = -7;  // the reader's own slot

// Returns the keys of prompt `name`, which begins like all others of its family and branches off
// later than most.
PrefixKeys branching(int name, int64_t tokens) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens), 7);
  for (int level = 0; level < 4; ++level) {
    const auto place = static_cast<size_t>(level * 150);
    if (place < prompt.size()) prompt[place] = name >> (2 * (3 - level));
  }
  return prefix_keys({}, {}, prompt);
}

// Both indexes, which must decide alike.
class Both {
 public:
  Both(int slots, int host_slots) : index_(0, slots, host_slots, 1000), rule_(slots, host_slots) {}
  ~Both() {
    while (!pins_.empty()) release(0);
  }

  void find(const PrefixKeys& keys, PrefixIndex::Time now) {
    PrefixIndex::Found found = index_.find(keys, now);
    take(std::move(found.pin), rule_.find(keys, now));
  }
  void keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind, const PrefixOwner& owner,
            PrefixIndex::Time now) {
    take(index_.keep(keys, position, kind, owner, 0, now),
         rule_.keep(keys, position, kind, owner, now));
  }
  void read(size_t i, PrefixIndex::Time now) {
    EXPECT_EQ(index_.slot_to_read(pins_[i].first, kOwn, now),
              rule_.slot_to_read(pins_[i].second, kOwn, now));
  }
  void release(size_t i) {
    pins_[i].first.release();
    rule_.release(pins_[i].second);
    pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  void clear(const PrefixOwner& owner) {
    index_.clear(owner);
    rule_.clear(owner);
  }
  void trim(PrefixIndex::Time now) {
    index_.trim(now);
    rule_.trim(now);
  }
  void compare() {
    EXPECT_EQ(index_.take_transfers(), std::exchange(rule_.transfers, {}));
    EXPECT_EQ(index_.num_evictions(), rule_.evictions);
  }
  size_t num_pins() const { return pins_.size(); }
  int64_t num_evictions() const { return rule_.evictions; }

 private:
  void take(SnapshotPin pin, int entry) {
    ASSERT_EQ(static_cast<bool>(pin), entry >= 0);
    if (!pin) return;
    EXPECT_EQ(pin.position(), rule_.position(entry));
    if (rule_.slot(entry) >= 0) {
      EXPECT_EQ(pin.slot(), rule_.slot(entry));
    }
    pins_.emplace_back(std::move(pin), entry);
  }

  PrefixIndex index_;
  LinearIndex rule_;
  std::vector<std::pair<SnapshotPin, int>> pins_;
};

class PrefixIndexOrder : public testing::TestWithParam<std::tuple<int, int, int>> {};
INSTANTIATE_TEST_SUITE_P(Sizes, PrefixIndexOrder,
                         testing::Values(std::tuple(1, 0, 4000), std::tuple(12, 0, 9000),
                                         std::tuple(40, 0, 100'000), std::tuple(6, 9, 4000),
                                         std::tuple(20, 30, 60'000)));

TEST_P(PrefixIndexOrder, DecidesByTheRule) {
  const auto [slots, host_slots, milliseconds_between] = GetParam();
  std::mt19937 random(static_cast<uint32_t>(slots));
  Both both(slots, host_slots);
  PrefixIndex::Time now = kStart;
  for (int i = 0; i < 6000 && !testing::Test::HasFailure(); ++i) {
    now += milliseconds(random() % static_cast<uint32_t>(milliseconds_between));
    const PrefixKeys keys =
        branching(static_cast<int>(random() % 256), 65 + static_cast<int64_t>(random() % 900));
    PrefixOwner owner{};
    owner[0] = static_cast<uint8_t>(random() % 3);
    both.find(keys, now);
    for (size_t count = random() % 3; count > 0; --count) {
      const auto point = 1 + static_cast<int64_t>(random() % keys->size());
      both.keep(keys, point * 64, static_cast<SnapshotKind>(random() % 6), owner, now);
    }
    if (both.num_pins() > 0 && random() % 2 == 0) both.read(random() % both.num_pins(), now);
    while (both.num_pins() > random() % 4) both.release(random() % both.num_pins());
    if (random() % 300 == 0) both.clear(owner);
    if (random() % 300 == 0) both.trim(now);
    both.compare();
  }
  EXPECT_GT(both.num_evictions(), 100);
}

// A full index of many states computes the values of few when one more comes.
TEST(PrefixIndexOrder, FewValuesAreComputed) {
  constexpr int kStates = 1 << 15;
  PrefixIndex index(0, kStates, 0, 16);
  PrefixIndex::Time now = kStart;
  std::mt19937 random(1);
  const auto keep_another = [&] {
    std::vector<int32_t> prompt(300, 7);
    prompt[0] = static_cast<int32_t>(random());
    const PrefixKeys keys = prefix_keys({}, {}, prompt);
    index.find(keys, now);
    index.keep(keys, 256, SnapshotKind::kPromptEnd, {}, 0, now);
    now += seconds(1);
  };
  for (int i = 0; i < kStates; ++i) keep_another();
  EXPECT_EQ(index.num_evictions(), 0);
  constexpr int kMore = 2000;
  const int64_t before = index.num_valued();
  for (int i = 0; i < kMore; ++i) keep_another();
  EXPECT_EQ(index.num_evictions(), kMore);
  EXPECT_LT((index.num_valued() - before) / kMore, kStates / 20);
}

}  // namespace
}  // namespace deltaserve
