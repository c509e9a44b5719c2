#include "models/tokenizer/json/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace deltaserve::tokenizer_json {
namespace {

// Up to this length it is faster to look through all pairs than to keep a heap.
constexpr size_t kShortRow = 48;
constexpr uint64_t kNoKey = UINT64_MAX;

}  // namespace

BpeMerges::BpeMerges(size_t count) {
  const size_t size = std::bit_ceil(std::max<size_t>(count * 2, 16));
  slots_.resize(size, {kNoKey, kNone});
  shift_ = 64 - std::countr_zero(size);
  results_.reserve(count);
}

BpeMerges::Slot* BpeMerges::slot_of(uint64_t key) {
  size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (slots_[i].key != key && slots_[i].key != kNoKey) i = (i + 1) & (slots_.size() - 1);
  return &slots_[i];
}

void BpeMerges::add(int32_t left, int32_t right, int32_t result) {
  const uint64_t key = pair_key(left, right);
  *slot_of(key) = {key, static_cast<uint32_t>(results_.size())};
  results_.push_back(result);
}

uint32_t BpeMerges::rank(int32_t left, int32_t right, const std::vector<bool>& banned) const {
  const uint64_t key = pair_key(left, right);
  size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (slots_[i].key != key) {
    if (slots_[i].key == kNoKey) return kNone;
    i = (i + 1) & (slots_.size() - 1);
  }
  const uint32_t rank = slots_[i].rank;
  if (!banned.empty() && banned[static_cast<size_t>(results_[rank])]) return kNone;
  return rank;
}

void BpeMerges::merge(std::span<const int32_t> row, const std::vector<bool>& banned,
                      std::vector<int32_t>* out) const {
  if (row.size() <= kShortRow) return merge_short(row, banned, out);
  size_t begin = 0;
  for (size_t i = 1; i <= row.size(); ++i) {
    if (i < row.size() && !are_separate(row[i - 1], row[i])) continue;
    const std::span<const int32_t> part = row.subspan(begin, i - begin);
    if (part.size() <= kShortRow) {
      merge_short(part, banned, out);
    } else {
      merge_long(part, banned, out);
    }
    begin = i;
  }
}

void BpeMerges::merge_short(std::span<const int32_t> row, const std::vector<bool>& banned,
                            std::vector<int32_t>* out) const {
  int32_t symbols[kShortRow];
  uint32_t ranks[kShortRow];  // of a symbol with the next one
  size_t n = row.size();
  std::copy(row.begin(), row.end(), symbols);
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = rank(symbols[i], symbols[i + 1], banned);
  while (n > 1) {
    const size_t at = static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[at] == kNone) break;
    symbols[at] = results_[ranks[at]];
    std::copy(symbols + at + 2, symbols + n, symbols + at + 1);
    --n;
    if (at + 1 < n) {
      std::copy(ranks + at + 2, ranks + n, ranks + at + 1);
      ranks[at] = rank(symbols[at], symbols[at + 1], banned);
    }
    if (at > 0) ranks[at - 1] = rank(symbols[at - 1], symbols[at], banned);
  }
  out->insert(out->end(), symbols, symbols + n);
}

void BpeMerges::merge_long(std::span<const int32_t> row, const std::vector<bool>& banned,
                           std::vector<int32_t>* out) const {
  constexpr int32_t kMerged = -1;
  const auto n = static_cast<uint32_t>(row.size());
  const size_t base = out->size();
  out->insert(out->end(), row.begin(), row.end());
  int32_t* symbols = out->data() + base;
  std::vector<uint32_t> previous(n);
  std::vector<uint32_t> next(n);
  std::vector<uint64_t> heap;  // rank and place, the lowest at the front
  heap.reserve(n);
  const auto entry = [&](uint32_t left, uint32_t right) {
    return uint64_t{rank(symbols[left], symbols[right], banned)} << 32 | left;
  };
  for (uint32_t i = 0; i < n; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1;
    if (i + 1 == n) continue;
    if (const uint64_t pair = entry(i, i + 1); pair >> 32 != kNone) heap.push_back(pair);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](uint32_t left, uint32_t right) {
    const uint64_t pair = entry(left, right);
    if (pair >> 32 == kNone) return;
    heap.push_back(pair);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    const uint64_t pair = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto at = static_cast<uint32_t>(pair);
    if (symbols[at] == kMerged || next[at] >= n) continue;
    const uint32_t right = next[at];
    if (entry(at, right) != pair) continue;  // one of the two was merged since
    symbols[at] = results_[pair >> 32];
    symbols[right] = kMerged;
    next[at] = next[right];
    if (next[at] < n) {
      previous[next[at]] = at;
      push(at, next[at]);
    }
    if (at > 0) push(previous[at], at);
  }
  out->erase(std::remove(out->begin() + base, out->end(), kMerged), out->end());
}

}  // namespace deltaserve::tokenizer_json
