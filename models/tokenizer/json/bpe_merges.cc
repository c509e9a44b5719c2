#include "models/tokenizer/json/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "absl/container/flat_hash_map.h"
#include "models/base/cancellation.h"
#include "models/tokenizer/base/reserve_sparingly.h"

namespace deltaserve::tokenizer_json {
namespace {

// Up to this length it is faster to search all pairs than to keep a heap.
constexpr size_t kShortRow = 48;
constexpr uint64_t kNoKey = UINT64_MAX;
constexpr int32_t kMerged = -1;  // the place of a symbol that is part of another one

// The pairs of a row that wait to be merged: the one of lowest rank comes first, of equal ones the
// leftmost. Those of one rank mostly arrive in the order of their places, so they wait in a list of
// their rank, which takes far less time than a heap of all pairs. Pairs of the rank at work, and of
// lower ones, that arrive late wait in a heap.
class PairQueue {
 public:
  void push(uint32_t rank, uint32_t place) {
    if (rank <= rank_ && working_) {
      late_.push_back(uint64_t{rank} << 32 | place);
      std::push_heap(late_.begin(), late_.end(), std::greater<>());
      return;
    }
    std::vector<uint32_t>& list = lists_[rank];
    if (list.empty()) {
      ranks_.push_back(rank);
      std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    }
    reserve_sparingly(list.size() + 1, &list);
    list.push_back(place);
  }

  // Returns false if no pair waits.
  bool pop(uint32_t* rank, uint32_t* place) {
    if (next_ == list_.size() && late_.empty() && !take_list()) return false;
    const uint64_t own = next_ < list_.size() ? uint64_t{rank_} << 32 | list_[next_] : UINT64_MAX;
    uint64_t pair = own;
    if (!late_.empty() && late_.front() < own) {
      pair = late_.front();
      std::pop_heap(late_.begin(), late_.end(), std::greater<>());
      late_.pop_back();
    } else {
      ++next_;
    }
    *rank = static_cast<uint32_t>(pair >> 32);
    *place = static_cast<uint32_t>(pair);
    return true;
  }

 private:
  // Begins with the list of the lowest rank.
  bool take_list() {
    if (ranks_.empty()) return false;
    rank_ = ranks_.front();
    std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    ranks_.pop_back();
    const auto list = lists_.find(rank_);
    list_ = std::move(list->second);
    lists_.erase(list);
    if (!std::is_sorted(list_.begin(), list_.end())) std::sort(list_.begin(), list_.end());
    next_ = 0;
    working_ = true;
    return true;
  }

  absl::flat_hash_map<uint32_t, std::vector<uint32_t>> lists_;  // of ranks above rank_
  std::vector<uint32_t> ranks_;                                 // of the lists, a heap
  bool working_ = false;
  uint32_t rank_ = 0;
  std::vector<uint32_t> list_;  // of rank_
  size_t next_ = 0;             // in list_
  std::vector<uint64_t> late_;  // a heap
};

}  // namespace

void LastPairs::found(int32_t left, int32_t right, int32_t result) {
  const auto index = static_cast<size_t>(result);
  if (index >= of_interest_.size() || !of_interest_[index]) return;
  Last& last = last_[result];
  if (turn_ >= last.turn) last = {turn_, {left, right}};
}

const LastPairs::Pair* LastPairs::of(int32_t result) const {
  const auto last = last_.find(result);
  return last == last_.end() ? nullptr : &last->second.pair;
}

BpeMerges::BpeMerges(size_t count) {
  const size_t size = std::bit_ceil(std::max<size_t>(count * 2, 16));
  slots_.resize(size, {kNoKey, {}});
  shift_ = 64 - std::countr_zero(size);
}

BpeMerges::Slot* BpeMerges::slot_of(uint64_t key) {
  size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (slots_[i].key != key && slots_[i].key != kNoKey) i = (i + 1) & (slots_.size() - 1);
  return &slots_[i];
}

void BpeMerges::set(int32_t left, int32_t right, Merge merge) {
  if (used_ * 2 >= slots_.size()) {
    std::vector<Slot> old(slots_.size() * 2, {kNoKey, {}});
    old.swap(slots_);
    --shift_;
    for (const Slot& slot : old) {
      if (slot.key != kNoKey) *slot_of(slot.key) = slot;
    }
  }
  const uint64_t key = pair_key(left, right);
  Slot* slot = slot_of(key);
  if (slot->key == kNoKey) ++used_;
  *slot = {key, merge};
}

void BpeMerges::add(int32_t left, int32_t right, int32_t result) {
  set(left, right, {ranks_++, result});
}

void BpeMerges::add_equal(int32_t left, int32_t right, int32_t result) {
  set(left, right, {ranks_ - 1, result});
}

BpeMerges::Merge BpeMerges::find(int32_t left, int32_t right,
                                 const std::vector<bool>& banned) const {
  const uint64_t key = pair_key(left, right);
  size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (slots_[i].key != key) {
    if (slots_[i].key == kNoKey) return {};
    i = (i + 1) & (slots_.size() - 1);
  }
  const Merge merge = slots_[i].merge;
  if (!banned.empty() && banned[static_cast<size_t>(merge.result)]) return {};
  return merge;
}

absl::Status BpeMerges::merge(std::span<int32_t> row, const std::vector<bool>& banned,
                              uint64_t place, LastPairs* pairs, std::vector<int32_t>* out) const {
  size_t begin = 0;
  // Searching does not know the places of symbols.
  const size_t short_row = pairs == nullptr ? kShortRow : 1;
  if (row.size() <= short_row) {
    merge_short(row, banned, out);
    return check_wanted(row.size());
  }
  for (size_t i = 1; i <= row.size(); ++i) {
    if (i < row.size() && !are_separate(row[i - 1], row[i])) continue;
    const std::span<int32_t> part = row.subspan(begin, i - begin);
    const uint64_t part_place = place + begin;
    begin = i;
    if (part.size() <= short_row) {
      merge_short(part, banned, out);
      if (absl::Status status = check_wanted(part.size()); !status.ok()) return status;
      continue;
    }
    if (absl::Status status = merge_long(part, banned, part_place, pairs); !status.ok())
      return status;
    const auto merged_end = std::remove(part.begin(), part.end(), kMerged);
    reserve_sparingly(out->size() + static_cast<size_t>(merged_end - part.begin()), out);
    out->insert(out->end(), part.begin(), merged_end);
  }
  return absl::OkStatus();
}

void BpeMerges::merge_short(std::span<const int32_t> row, const std::vector<bool>& banned,
                            std::vector<int32_t>* out) const {
  int32_t symbols[kShortRow];
  Merge merges[kShortRow];  // of a symbol with the next one
  size_t n = row.size();
  std::copy(row.begin(), row.end(), symbols);
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i], symbols[i + 1], banned);
  while (n > 1) {
    const auto comes_first = [](const Merge& a, const Merge& b) { return a.rank < b.rank; };
    const auto at =
        static_cast<size_t>(std::min_element(merges, merges + n - 1, comes_first) - merges);
    if (merges[at].rank == kNone) break;
    symbols[at] = merges[at].result;
    std::copy(symbols + at + 2, symbols + n, symbols + at + 1);
    --n;
    if (at + 1 < n) {
      std::copy(merges + at + 2, merges + n, merges + at + 1);
      merges[at] = find(symbols[at], symbols[at + 1], banned);
    }
    if (at > 0) merges[at - 1] = find(symbols[at - 1], symbols[at], banned);
  }
  out->insert(out->end(), symbols, symbols + n);
}

absl::Status BpeMerges::merge_long(std::span<int32_t> symbols, const std::vector<bool>& banned,
                                   uint64_t place, LastPairs* pairs) const {
  const auto n = static_cast<uint32_t>(symbols.size());
  // A merged symbol takes several places. The first one and the last one know each other.
  std::vector<uint32_t> other_ends(n);
  const auto begin_of_next = [&](uint32_t begin) { return other_ends[begin] + 1; };
  PairQueue queue;
  const auto push = [&](uint32_t left, uint32_t right) {
    const Merge merge = find(symbols[left], symbols[right], banned);
    if (merge.rank == kNone) return;
    queue.push(merge.rank, left);
    if (pairs != nullptr) pairs->found(symbols[left], symbols[right], merge.result);
  };
  for (uint32_t i = 0; i < n; ++i) {
    if (absl::Status status = check_wanted(1); !status.ok()) return status;
    other_ends[i] = i;
    if (pairs != nullptr) pairs->begin(place + i);
    if (i + 1 < n) push(i, i + 1);
  }
  uint32_t rank = 0;
  uint32_t at = 0;
  while (queue.pop(&rank, &at)) {
    if (absl::Status status = check_wanted(1); !status.ok()) return status;
    if (symbols[at] == kMerged) continue;
    const uint32_t right = begin_of_next(at);
    if (right >= n) continue;
    const Merge merge = find(symbols[at], symbols[right], banned);
    if (merge.rank != rank) continue;  // one of the two was merged meanwhile
    symbols[at] = merge.result;
    symbols[right] = kMerged;
    const uint32_t last = other_ends[right];
    other_ends[at] = last;
    other_ends[last] = at;
    if (pairs != nullptr) pairs->merged(rank, place + at);
    if (at > 0) push(other_ends[at - 1], at);
    if (last + 1 < n) push(at, last + 1);
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::tokenizer_json
