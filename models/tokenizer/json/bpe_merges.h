// The merges of a BPE model, and the merging of a row of symbols.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

namespace deltaserve::tokenizer_json {

// The last pair that came up for each result of interest, as if all rows of a text were merged
// together, the pair of lowest rank in any row first. The rows may come one by one, because a merge
// in one has no effect on others but its turn. Thread safety: one thread at a time.
class LastPairs {
 public:
  struct Pair {
    int32_t left = 0;
    int32_t right = 0;
  };

  // `of_interest` has one bit per symbol, and outlives the object.
  explicit LastPairs(const std::vector<bool>& of_interest) : of_interest_(of_interest) {}

  // Says that the next pair is one that the text has before all merges, and that its left symbol is
  // at that place.
  void begin(uint64_t place) { turn_ = {0, place}; }
  // Says that the next pairs come up because two symbols of the row are merged.
  void merged(uint32_t rank, uint64_t place) {
    // A merge that another one makes possible, and that comes before it, has its turn right away.
    turn_ = std::max(turn_, {uint64_t{rank} + 1, place});
  }
  void found(int32_t left, int32_t right, int32_t result);

  // Returns null if there was none, or the symbol is not of interest.
  const Pair* of(int32_t result) const;

 private:
  using Turn = std::pair<uint64_t, uint64_t>;  // rank + 1, and the place
  struct Last {
    Turn turn;
    Pair pair;
  };

  const std::vector<bool>& of_interest_;
  absl::flat_hash_map<int32_t, Last> last_;
  Turn turn_;
};

// Pairs of neighbours that become one symbol, the one of lowest rank first, of equal ones the
// leftmost. Thread safety: const methods may be called from any thread at once.
class BpeMerges {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit BpeMerges(size_t count);
  // Adds the merge of the next rank. A pair that comes twice has its last rank.
  void add(int32_t left, int32_t right, int32_t result);
  // Adds another pair that has the last added rank.
  void add_equal(int32_t left, int32_t right, int32_t result);
  // Declares that two symbols of a row may be adjacent inside a result. Rows are cut between
  // symbols that may not.
  void add_neighbours(int32_t left, int32_t right) { neighbours_.insert(pair_key(left, right)); }
  // Without this call every two symbols count as neighbours.
  void know_neighbours() { neighbours_known_ = true; }

  // Says whether two symbols of a row can never become parts of one result.
  bool are_separate(int32_t left, int32_t right) const {
    return neighbours_known_ && !neighbours_.contains(pair_key(left, right));
  }
  // Merges the symbols of a row, which are overwritten, and appends the results. `banned` has one
  // bit per symbol that must not be a result, or is empty. Time grows with the length; memory grows
  // by some 12 bytes a symbol if the row cannot be cut. An error means that the work is no longer
  // wanted (check_wanted).
  absl::Status merge(std::span<int32_t> row, const std::vector<bool>& banned,
                     std::vector<int32_t>* out) const {
    return merge(row, banned, 0, nullptr, out);
  }
  // Works like merge(), and tells `pairs` of every pair unless it is null. `place` is that of the
  // row in its text.
  absl::Status merge(std::span<int32_t> row, const std::vector<bool>& banned, uint64_t place,
                     LastPairs* pairs, std::vector<int32_t>* out) const;

 private:
  // The result of joining a pair of symbols.
  struct Merge {
    uint32_t rank = kNone;  // kNone: nothing
    int32_t result = 0;
  };
  struct Slot {
    uint64_t key;
    Merge merge;
  };

  static uint64_t pair_key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  Slot* slot_of(uint64_t key);
  void set(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right, const std::vector<bool>& banned) const;
  void merge_short(std::span<const int32_t> row, const std::vector<bool>& banned,
                   std::vector<int32_t>* out) const;
  absl::Status merge_long(std::span<int32_t> row, const std::vector<bool>& banned, uint64_t place,
                          LastPairs* pairs) const;

  std::vector<Slot> slots_;  // a hash table with open addressing; its size is a power of two
  size_t used_ = 0;
  int shift_ = 0;
  uint32_t ranks_ = 0;
  absl::flat_hash_set<uint64_t> neighbours_;
  bool neighbours_known_ = false;
};

}  // namespace deltaserve::tokenizer_json
