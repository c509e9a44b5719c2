#include "engine/reuse/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "engine/reuse/keep_points.h"

namespace deltaserve {
namespace {

using std::chrono::seconds;

constexpr PrefixIndex::Time kNow{seconds(1000)};
constexpr int kFirstSlot = 10;
constexpr SnapshotKind kEnd = SnapshotKind::kPromptEnd;

std::vector<int32_t> prompt(int64_t tokens, int32_t first = 0) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens), 7);
  prompt[0] = first;
  return prompt;
}

PrefixKeys keys(const std::vector<int32_t>& tokens, const PrefixReuse& reuse = {}) {
  return prefix_keys({}, reuse, tokens);
}

// Keeps a state and says whether there was room for it.
bool keep(PrefixIndex& index, const PrefixKeys& keys, int64_t position, SnapshotKind kind = kEnd,
          PrefixIndex::Time now = kNow, const PrefixOwner& owner = {}) {
  return static_cast<bool>(index.keep(keys, position, kind, owner, 0, now));
}

int64_t found(PrefixIndex& index, const PrefixKeys& keys, PrefixIndex::Time now = kNow) {
  const PrefixIndex::Found found = index.find(keys, now);
  return found.pin ? found.pin.position() : 0;
}

TEST(PrefixKeys, TwoModelsShareNone) {
  ModelFingerprint other{};
  other[15] = 1;
  EXPECT_NE(prefix_keys(other, {}, prompt(65))->front(), keys(prompt(65))->front());
}

TEST(PrefixKeys, OneForEachGridPointWithATokenBehindIt) {
  EXPECT_EQ(keys(prompt(64))->size(), 0u);
  EXPECT_EQ(keys(prompt(65))->size(), 1u);
  EXPECT_EQ(keys(prompt(128))->size(), 1u);
  EXPECT_EQ(keys(prompt(129))->size(), 2u);
}

TEST(PrefixKeys, DependOnEverythingBefore) {
  std::vector<int32_t> tokens = prompt(300);
  const auto base = *keys(tokens);
  EXPECT_EQ(std::set(base.begin(), base.end()).size(), 4u);
  tokens[100] = 8;
  const auto changed = *keys(tokens);
  EXPECT_EQ(changed[0], base[0]);
  for (int i = 1; i < 4; ++i) EXPECT_NE(changed[i], base[i]);
  tokens[100] = 7;
  PrefixReuse other;
  other.salt = "x";
  EXPECT_NE((*keys(tokens, other))[0], base[0]);
  other.salt = "";
  other.owner[15] = 1;
  EXPECT_NE((*keys(tokens, other))[0], base[0]);
}

// Slots of the device and the host, one state each, and transfers as the engine would queue them.
class TwoMemories {
 public:
  TwoMemories(int slots, int host_slots) : index_(kFirstSlot, slots, host_slots, 1000) {}

  PrefixIndex& index() { return index_; }
  // Keeps the state of the first 64 tokens of a prompt, and says whether it could.
  bool keep(int32_t first, PrefixIndex::Time now = kNow) {
    const SnapshotPin pin = index_.keep(keys(prompt(100, first)), 64, kEnd, {}, 0, now);
    run_transfers();
    if (pin) slots_[pin.slot()] = first;
    return static_cast<bool>(pin);
  }
  // Reads the state of a prompt in slot `own`, and returns whose it is; -1 if none is found.
  int32_t read(int32_t first, int own, PrefixIndex::Time now = kNow) {
    const PrefixIndex::Found found = index_.find(keys(prompt(100, first)), now);
    if (!found.pin) return -1;
    const int slot = index_.slot_to_read(found.pin, own, now);
    run_transfers();
    return slots_.at(slot);
  }
  const std::vector<SnapshotTransfer>& last_transfers() const { return last_; }

 private:
  void run_transfers() {
    last_ = index_.take_transfers();
    for (const SnapshotTransfer& transfer : last_) {
      if (transfer.kind == SnapshotTransfer::kStore) {
        host_[transfer.host_slot] = slots_.at(transfer.slot);
      } else {
        slots_[transfer.slot] = host_.at(transfer.host_slot);
      }
    }
  }

  PrefixIndex index_;
  std::map<int, int32_t> slots_, host_;
  std::vector<SnapshotTransfer> last_;
};

TEST(PrefixIndexInTwoMemories, AStateThatLeavesItsSlotComesBack) {
  TwoMemories memories(1, 1);
  EXPECT_TRUE(memories.keep(1));
  const auto later = kNow + seconds(10);
  EXPECT_TRUE(memories.keep(2, later));
  EXPECT_EQ(memories.index().num_kept(), 2);
  EXPECT_EQ(memories.index().num_evictions(), 0);
  EXPECT_EQ(memories.index().num_in_slots(), 1);
  EXPECT_EQ(memories.index().num_in_host(), 1);
  // It is worth more now than the one that took its slot, which leaves no room for that one.
  EXPECT_EQ(memories.read(1, 0, later), 1);
  EXPECT_EQ(memories.index().num_loaded(), 1);
  EXPECT_EQ(memories.read(1, 0, later), 1);
  EXPECT_EQ(memories.index().num_loaded(), 1);
}

TEST(PrefixIndexInTwoMemories, AStateThatIsWorthLessIsReadInTheReadersOwnSlot) {
  TwoMemories memories(1, 4);
  EXPECT_TRUE(memories.keep(1));
  EXPECT_TRUE(memories.keep(2, kNow + seconds(10)));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(memories.read(2, 3, kNow + seconds(10)), 2);
  EXPECT_EQ(memories.read(1, 3, kNow + seconds(10)), 1);
  ASSERT_EQ(memories.last_transfers().size(), 1u);
  EXPECT_EQ(memories.last_transfers()[0].kind, SnapshotTransfer::kLoad);
  EXPECT_EQ(memories.last_transfers()[0].slot, 3);
  EXPECT_EQ(memories.read(2, 3, kNow + seconds(10)), 2);
  EXPECT_TRUE(memories.last_transfers().empty());
}

TEST(PrefixIndexInTwoMemories, TheNextToLeaveIsStoredAhead) {
  TwoMemories memories(8, 8);
  int stored = 0;
  for (int32_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(memories.keep(i, kNow + seconds(i)));
    stored += static_cast<int>(memories.last_transfers().size());
  }
  EXPECT_EQ(stored, 4);
  // The one that leaves was stored before, so what is stored now is another one.
  EXPECT_TRUE(memories.keep(8, kNow + seconds(8)));
  ASSERT_EQ(memories.last_transfers().size(), 1u);
  EXPECT_EQ(memories.last_transfers()[0].kind, SnapshotTransfer::kStore);
  EXPECT_EQ(memories.last_transfers()[0].slot, kFirstSlot + 4);
  for (int32_t i = 0; i <= 8; ++i) EXPECT_EQ(memories.read(i, 0, kNow + seconds(8)), i);
}

TEST(PrefixIndexInTwoMemories, APinnedStateStaysInTheHostsMemory) {
  TwoMemories memories(1, 1);
  EXPECT_TRUE(memories.keep(1));
  EXPECT_TRUE(memories.keep(2, kNow + seconds(1)));
  {
    const PrefixIndex::Found found = memories.index().find(keys(prompt(100, 1)), kNow);
    ASSERT_TRUE(found.pin);
    // There is no other place for a state that leaves its slot: it is forgotten.
    EXPECT_TRUE(memories.keep(3, kNow + seconds(500)));
    EXPECT_EQ(memories.index().num_evictions(), 1);
    // Its place is not free either, as long as somebody may read it.
    memories.index().clear({});
    EXPECT_EQ(memories.index().num_kept(), 0);
    EXPECT_EQ(memories.index().num_in_host(), 1);
    EXPECT_EQ(memories.index().slot_to_read(found.pin, 3, kNow), 3);
  }
  EXPECT_EQ(memories.index().num_in_host(), 0);
  EXPECT_EQ(memories.index().num_in_slots(), 0);
}

TEST(PrefixIndexInTwoMemories, EveryStateThatIsFoundIsTheRightOne) {
  std::mt19937 random(3);
  TwoMemories memories(6, 9);
  PrefixIndex::Time now = kNow;
  int64_t found = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto first = static_cast<int32_t>(random() % 30);
    now += std::chrono::milliseconds(random() % 5000);
    if (random() % 500 == 0) memories.index().clear({});
    if (random() % 2 == 0) {
      memories.keep(first, now);
    } else if (const int32_t state = memories.read(first, static_cast<int>(random() % 4), now);
               state >= 0) {
      ASSERT_EQ(state, first);
      ++found;
    }
    ASSERT_LE(memories.index().num_kept(), 15);
  }
  EXPECT_GT(found, 3000);
  EXPECT_GT(memories.index().num_loaded(), 1000);
}

TEST(PrefixIndex, FindsTheLongestKeptBeginning) {
  PrefixIndex index(kFirstSlot, 4, 0, 100);
  const PrefixKeys first = keys(prompt(1000));
  EXPECT_EQ(found(index, first), 0);
  {
    const SnapshotPin pin = index.keep(first, 128, kEnd, {}, 0, kNow);
    ASSERT_TRUE(pin);
    EXPECT_GE(pin.slot(), kFirstSlot);
    EXPECT_LT(pin.slot(), kFirstSlot + 4);
    EXPECT_EQ(pin.position(), 128);
  }
  EXPECT_TRUE(keep(index, first, 640));
  EXPECT_FALSE(keep(index, first, 640)) << "kept already";
  EXPECT_EQ(found(index, first), 640);
  EXPECT_EQ(found(index, keys(prompt(600))), 128);
  EXPECT_EQ(found(index, keys(prompt(128))), 0) << "no token is left for the logits";
  EXPECT_EQ(found(index, keys(prompt(1000, 1))), 0);
  EXPECT_EQ(index.num_kept(), 2);
}

TEST(PrefixIndex, SaysWhereAPromptPartsFromThoseBefore) {
  PrefixIndex index(kFirstSlot, 4, 0, 100);
  std::vector<int32_t> tokens = prompt(1000);
  index.see(keys(tokens));
  EXPECT_EQ(index.find(keys(tokens), kNow).seen, 960);
  tokens[300] = 8;
  EXPECT_EQ(index.find(keys(tokens), kNow).seen, 256);
  tokens[0] = 8;
  EXPECT_EQ(index.find(keys(tokens), kNow).seen, 0);
}

TEST(PrefixIndex, RemembersTheLatestPrompts) {
  PrefixIndex index(kFirstSlot, 1, 0, 16);
  for (int32_t i = 0; i < 5; ++i) index.see(keys(prompt(64 * 4 + 1, i)));
  EXPECT_EQ(index.find(keys(prompt(64 * 4 + 1, 4)), kNow).seen, 256);
  EXPECT_EQ(index.find(keys(prompt(64 * 4 + 1, 0)), kNow).seen, 0);
  index.see(keys(prompt(10'000)));
  EXPECT_EQ(index.find(keys(prompt(10'000)), kNow).seen, 1024) << "the beginning of a long one";
}

TEST(SeenPoints, ForgetTheOldestOfALineAndTakeNoneForAnother) {
  constexpr size_t kPoints = 4096;
  SeenPoints seen(kPoints - 1);
  EXPECT_EQ(seen.capacity(), kPoints);
  const PrefixKeys old = keys(prompt(64 * 2000 + 1, 1));
  const PrefixKeys kept = keys(prompt(64 * 100 + 1, 2));
  for (const PrefixKey& key : *old) seen.add(key);
  for (const PrefixKey& key : *kept) EXPECT_FALSE(seen.contains(key));
  const auto count = [&](const PrefixKeys& keys) {
    return std::count_if(keys->begin(), keys->end(),
                         [&](const PrefixKey& key) { return seen.contains(key); });
  };
  EXPECT_GT(count(old), 1950) << "few lines have more than their 16 in 2000 points";
  for (int32_t i = 0; i < 10; ++i) {
    for (const PrefixKey& key : *kept) seen.add(key);
    const PrefixKeys others = keys(prompt(64 * 1000 + 1, 10 + i));
    for (const PrefixKey& key : *others) seen.add(key);
  }
  EXPECT_EQ(count(old), 0);
  EXPECT_GT(count(kept), 95) << "points that come again are new again";
}

TEST(PrefixIndex, TheLeastValuableStateGoesFirst) {
  PrefixIndex index(kFirstSlot, 3, 0, 100);
  const PrefixKeys a = keys(prompt(1000, 1));
  const PrefixKeys b = keys(prompt(1000, 2));
  const PrefixKeys c = keys(prompt(1000, 3));
  EXPECT_TRUE(keep(index, a, 640));
  EXPECT_TRUE(keep(index, b, 640));
  EXPECT_TRUE(keep(index, c, 128));  // saves fewest tokens
  EXPECT_TRUE(keep(index, keys(prompt(1000, 4)), 640));
  EXPECT_EQ(index.num_evictions(), 1);
  EXPECT_EQ(found(index, c), 0);
  // A hit keeps `a`; of the others the one goes that was used longest ago.
  EXPECT_EQ(found(index, a, kNow + seconds(10)), 640);
  EXPECT_EQ(found(index, keys(prompt(1000, 4)), kNow + seconds(20)), 640);
  EXPECT_TRUE(keep(index, keys(prompt(1000, 5)), 640, kEnd, kNow + seconds(30)));
  EXPECT_EQ(found(index, b), 0);
  EXPECT_EQ(found(index, a), 640);
  // Nothing is worth less than this.
  EXPECT_FALSE(keep(index, keys(prompt(1000, 6)), 64, SnapshotKind::kLadder, kNow + seconds(30)));
}

// A server that is asked a thousand times a second forgets old conversations, too.
TEST(PrefixIndex, PromptsAgeStatesWhileTheClockStandsStill) {
  PrefixIndex index(kFirstSlot, 1, 0, 100);
  const PrefixKeys old = keys(prompt(1000, 1));
  EXPECT_TRUE(keep(index, old, 640));
  EXPECT_EQ(found(index, old), 640);
  EXPECT_FALSE(keep(index, keys(prompt(1000, 2)), 640)) << "the old one had a hit just now";
  for (int32_t i = 0; i < 100; ++i) EXPECT_EQ(found(index, keys(prompt(100, 10 + i))), 0);
  EXPECT_TRUE(keep(index, keys(prompt(1000, 2)), 640));
  EXPECT_EQ(found(index, old), 0);
}

// A state saves the tokens after the nearest state before it, also when that one is kept later or
// given up.
TEST(PrefixIndex, AncestorsLowerAStatesValue) {
  PrefixIndex index(kFirstSlot, 2, 0, 100);
  const PrefixKeys a = keys(prompt(1000, 1));
  EXPECT_TRUE(keep(index, a, 960));
  EXPECT_TRUE(keep(index, a, 896));  // now the state at 960 saves 64 tokens only
  const PrefixKeys b = keys(prompt(300, 2));
  EXPECT_TRUE(keep(index, b, 128));
  EXPECT_EQ(found(index, a), 896);
  EXPECT_FALSE(keep(index, a, 960)) << "worth 64 tokens against 128";
  index.clear({});
  EXPECT_EQ(index.num_kept(), 0);
  EXPECT_TRUE(keep(index, a, 896));
  EXPECT_TRUE(keep(index, a, 960));
  EXPECT_TRUE(keep(index, keys(prompt(2000, 3)), 1920));
  EXPECT_EQ(found(index, a), 896);
}

TEST(PrefixIndex, APinnedStateStays) {
  PrefixIndex index(kFirstSlot, 1, 0, 100);
  SnapshotPin pin = index.keep(keys(prompt(1000, 1)), 64, SnapshotKind::kLadder, {}, 0, kNow);
  ASSERT_TRUE(pin);
  EXPECT_FALSE(keep(index, keys(prompt(1000, 2)), 960));
  SnapshotPin again = pin.pin_again();
  pin.release();
  EXPECT_FALSE(keep(index, keys(prompt(1000, 2)), 960));
  index.clear({});
  EXPECT_EQ(found(index, keys(prompt(1000, 1))), 0) << "forgotten";
  EXPECT_FALSE(keep(index, keys(prompt(1000, 2)), 960)) << "but its slot is still read";
  again.release();
  EXPECT_TRUE(keep(index, keys(prompt(1000, 2)), 960));
}

TEST(PrefixIndex, ClearForgetsOneOwner) {
  PrefixIndex index(kFirstSlot, 4, 0, 100);
  const PrefixOwner other = {1};
  const PrefixKeys mine = keys(prompt(200, 1));
  const PrefixKeys theirs = keys(prompt(200, 2));
  EXPECT_TRUE(keep(index, mine, 128));
  EXPECT_TRUE(keep(index, theirs, 128, kEnd, kNow, other));
  index.clear(other);
  EXPECT_EQ(found(index, mine), 128);
  EXPECT_EQ(found(index, theirs), 0);
}

// A slot never has two contents, and what is found was kept.
TEST(PrefixIndex, RandomUse) {
  std::mt19937 random(1);
  PrefixIndex index(kFirstSlot, 8, 0, 50);
  std::map<int, std::pair<int32_t, int64_t>> content;  // by slot: the prompt and its position
  std::vector<std::pair<int32_t, SnapshotPin>> pins;
  for (int i = 0; i < 20'000; ++i) {
    const auto name = static_cast<int32_t>(random() % 12);
    const PrefixKeys path = keys(prompt(640, name));
    const PrefixIndex::Time now = kNow + seconds(i);
    const auto position = static_cast<int64_t>(1 + random() % 9) * 64;
    const auto kind = static_cast<SnapshotKind>(random() % 6);
    PrefixIndex::Found seen = index.find(path, now);
    if (seen.pin) {
      ASSERT_EQ(content.at(seen.pin.slot()), std::pair(name, seen.pin.position()));
      ASSERT_GE(seen.seen, seen.pin.position());
    }
    SnapshotPin kept = index.keep(path, position, kind, {}, 0, now);
    if (kept) content[kept.slot()] = {name, position};
    for (const auto& [owner, pin] : pins) {
      ASSERT_EQ(content.at(pin.slot()).first, owner) << "a pinned slot was overwritten";
    }
    index.see(path);
    if (kept && random() % 4 == 0) pins.emplace_back(name, std::move(kept));
    if (seen.pin && random() % 4 == 0) pins.emplace_back(name, std::move(seen.pin));
    if (pins.size() > 5) pins.erase(pins.begin() + random() % pins.size());
    if (random() % 500 == 0) {
      index.clear({});
      pins.clear();
    }
  }
  EXPECT_GT(index.num_evictions(), 100);
}

std::vector<int64_t> positions(const std::vector<KeepPoint>& points) {
  std::vector<int64_t> positions;
  for (const KeepPoint& point : points) positions.push_back(point.position);
  return positions;
}

TEST(KeepPoints, EndLadderAndMarks) {
  EXPECT_TRUE(keep_points(64, 0, 0, false, {}).empty());
  EXPECT_EQ(positions(keep_points(65, 0, 0, false, {})), std::vector<int64_t>{64});
  EXPECT_EQ(positions(keep_points(1000, 0, 0, false, {})),
            (std::vector<int64_t>{704, 832, 896, 960}));
  EXPECT_EQ(positions(keep_points(1000, 832, 0, false, {})), (std::vector<int64_t>{896, 960}));
  const std::vector<PrefixMark> marks = {
      {100, SnapshotKind::kMark}, {63, SnapshotKind::kMark}, {1000, SnapshotKind::kBoundary}};
  const std::vector<KeepPoint> points = keep_points(1000, 0, 320, true, marks);
  EXPECT_EQ(positions(points), (std::vector<int64_t>{64, 320, 704, 832, 896, 960}));
  EXPECT_EQ(points.front().kind, SnapshotKind::kMark);
  EXPECT_EQ(points[1].kind, SnapshotKind::kDivergence);
  EXPECT_EQ(points.back().kind, SnapshotKind::kBoundary) << "the likeliest of its reasons";
  EXPECT_EQ(keep_points(1000, 0, 0, true, {}).back().kind, SnapshotKind::kReadAhead);
}

// The half that is worth less goes, but nothing that a sequence needs now.
TEST(PrefixIndex, TrimsToHalf) {
  PrefixIndex index(kFirstSlot, 8, 0, 100);
  std::vector<PrefixKeys> all;
  for (int32_t i = 0; i < 8; ++i) {
    all.push_back(keys(prompt(64 * (i + 1) + 1, i)));
    ASSERT_TRUE(keep(index, all.back(), 64 * (i + 1)));
  }
  const SnapshotPin pin = index.pin(all[0], 64);  // the least valuable one
  index.trim(kNow);
  EXPECT_EQ(index.num_kept(), 5);
  EXPECT_EQ(found(index, all[0]), 64);
  for (int32_t i = 1; i < 4; ++i) EXPECT_EQ(found(index, all[static_cast<size_t>(i)]), 0) << i;
  for (int32_t i = 4; i < 8; ++i) {
    EXPECT_EQ(found(index, all[static_cast<size_t>(i)]), 64 * (i + 1)) << i;
  }
  const std::vector<std::pair<int, int>> dropped = {{kFirstSlot + 1, 3}};
  EXPECT_EQ(index.take_dropped(), dropped);
  EXPECT_TRUE(index.take_dropped().empty());
}

}  // namespace
}  // namespace deltaserve
