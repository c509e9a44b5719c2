// The merges of a BPE model, and how a row of symbols is merged by them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

namespace deltaserve::tokenizer_json {

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
  // Says that two symbols of a row may stand side by side inside a result. Rows are cut between
  // symbols that may not.
  void add_neighbours(int32_t left, int32_t right) { neighbours_.insert(pair_key(left, right)); }
  // Without this call every two symbols count as neighbours.
  void know_neighbours() { neighbours_known_ = true; }

  // Says whether two symbols of a row can never become parts of one result.
  bool are_separate(int32_t left, int32_t right) const {
    return neighbours_known_ && !neighbours_.contains(pair_key(left, right));
  }
  // Merges the symbols of a row, which are overwritten, and appends the results. `banned` may not
  // come out: a bit a symbol, or empty. Time grows with the length, memory by some 12 bytes a
  // symbol where the row cannot be cut. Not OK: the work is not wanted any more (check_wanted).
  absl::Status merge(std::span<int32_t> row, const std::vector<bool>& banned,
                     std::vector<int32_t>* out) const;

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
  absl::Status merge_long(std::span<int32_t> row, const std::vector<bool>& banned) const;

  std::vector<Slot> slots_;  // a hash table with open addressing; its size is a power of two
  size_t used_ = 0;
  int shift_ = 0;
  uint32_t ranks_ = 0;
  absl::flat_hash_set<uint64_t> neighbours_;
  bool neighbours_known_ = false;
};

}  // namespace deltaserve::tokenizer_json
