#include "engine/reuse/prefix_index.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

// How many uses a state is expected to have before it had any.
float prior(SnapshotKind kind) {
  switch (kind) {
    case SnapshotKind::kBoundary:
    case SnapshotKind::kMark:
    case SnapshotKind::kReadAhead: return 0.5f;
    case SnapshotKind::kDivergence: return 0.4f;
    case SnapshotKind::kPromptEnd: return 0.3f;
    case SnapshotKind::kLadder: return 0.05f;
  }
  return 0;
}

constexpr double kYoungSeconds = 60;  // ages below this one count alike

}  // namespace

SnapshotPin::SnapshotPin(PrefixIndex* index, int entry) : index_(index), entry_(entry) {
  ++index_->entries_[entry_].pins;
}

SnapshotPin::SnapshotPin(SnapshotPin&& other) noexcept
    : index_(std::exchange(other.index_, nullptr)), entry_(std::exchange(other.entry_, -1)) {}

SnapshotPin& SnapshotPin::operator=(SnapshotPin&& other) noexcept {
  if (this == &other) return *this;
  release();
  index_ = std::exchange(other.index_, nullptr);
  entry_ = std::exchange(other.entry_, -1);
  return *this;
}

int SnapshotPin::slot() const {
  DS_CHECK(index_ != nullptr);
  return index_->first_slot_ + entry_;
}

int64_t SnapshotPin::position() const {
  DS_CHECK(index_ != nullptr);
  return index_->entries_[entry_].position;
}

SnapshotPin SnapshotPin::pin_again() const {
  return index_ == nullptr ? SnapshotPin() : SnapshotPin(index_, entry_);
}

void SnapshotPin::release() {
  if (index_ == nullptr) return;
  --index_->entries_[entry_].pins;
  index_ = nullptr;
  entry_ = -1;
}

PrefixIndex::PrefixIndex(int first_slot, int num_slots, size_t max_seen)
    : first_slot_(first_slot), max_seen_(max_seen), entries_(static_cast<size_t>(num_slots)) {}

PrefixIndex::~PrefixIndex() {
  DS_CHECK(std::none_of(entries_.begin(), entries_.end(),
                        [](const Entry& entry) { return entry.pins > 0; }));
}

const PrefixKey& PrefixIndex::Entry::key() const {
  return (*keys)[static_cast<size_t>(position / kChunkTokens - 1)];
}

PrefixIndex::Found PrefixIndex::find(const PrefixKeys& keys, Time now) {
  Found found;
  size_t count = keys->size();
  while (count > 0 && !seen_.contains((*keys)[count - 1])) --count;
  found.seen = static_cast<int64_t>(count) * kChunkTokens;
  const int best = longest(keys, static_cast<int64_t>(keys->size()) * kChunkTokens);
  if (best < 0) return found;
  Entry& entry = entries_[best];
  entry.hits += 1;
  entry.used = now;
  found.seen = std::max(found.seen, entry.position);
  found.pin = SnapshotPin(this, best);
  return found;
}

void PrefixIndex::see(const PrefixKeys& keys) {
  // From the end, so that of a prompt with too many grid points the first ones stay.
  for (size_t i = std::min(keys->size(), max_seen_); i-- > 0;) {
    if (!seen_.insert((*keys)[i]).second) continue;
    seen_order_.push_back((*keys)[i]);
    if (seen_order_.size() <= max_seen_) continue;
    seen_.erase(seen_order_.front());
    seen_order_.pop_front();
  }
}

SnapshotPin PrefixIndex::keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind,
                              const PrefixOwner& owner, float uses, Time now) {
  DS_CHECK(position > 0 && position % kChunkTokens == 0);
  DS_CHECK(position / kChunkTokens <= static_cast<int64_t>(keys->size()));
  if (const int kept = entry_of(keys, position); kept >= 0) {
    if (prior(kind) > prior(entries_[kept].kind)) entries_[kept].kind = kind;
    entries_[kept].used = now;
    return {};
  }
  Entry wanted;
  wanted.keys = keys;
  wanted.position = position;
  wanted.parent = longest(keys, position - kChunkTokens);
  wanted.kind = kind;
  wanted.owner = owner;
  wanted.hits = uses;
  wanted.used = now;
  const int slot = free_entry(value(wanted, now), now);
  if (slot < 0) return {};
  wanted.parent = longest(keys, position - kChunkTokens);  // the old one may have made room
  entries_[slot] = std::move(wanted);
  const Entry& entry = entries_[slot];
  by_key_.emplace(entry.key(), slot);
  for (Entry& other : entries_) {
    if (other.keys == nullptr || other.position <= position) continue;
    if (other.parent == entry.parent && goes_through(other, entry.key(), position)) {
      other.parent = slot;
    }
  }
  return {this, slot};
}

SnapshotPin PrefixIndex::pin(const PrefixKeys& keys, int64_t position) {
  const int entry = entry_of(keys, position);
  return entry < 0 ? SnapshotPin() : SnapshotPin(this, entry);
}

void PrefixIndex::clear(const PrefixOwner& owner) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].keys != nullptr && entries_[i].owner == owner) forget(static_cast<int>(i));
  }
}

// Returns the entry of exactly these tokens; -1 if there is none.
int PrefixIndex::entry_of(const PrefixKeys& keys, int64_t position) const {
  const auto found = by_key_.find((*keys)[static_cast<size_t>(position / kChunkTokens - 1)]);
  return found == by_key_.end() ? -1 : found->second;
}

// Returns the entry with the most tokens of this prompt, at most `most`; -1 if there is none.
int PrefixIndex::longest(const PrefixKeys& keys, int64_t most) const {
  if (by_key_.empty()) return -1;
  for (int64_t position = most; position > 0; position -= kChunkTokens) {
    if (const int entry = entry_of(keys, position); entry >= 0) return entry;
  }
  return -1;
}

bool PrefixIndex::goes_through(const Entry& entry, const PrefixKey& key, int64_t position) const {
  return (*entry.keys)[static_cast<size_t>(position / kChunkTokens - 1)] == key;
}

int64_t PrefixIndex::saved_tokens(const Entry& entry) const {
  return entry.position - (entry.parent < 0 ? 0 : entries_[entry.parent].position);
}

double PrefixIndex::value(const Entry& entry, Time now) const {
  const double idle = std::chrono::duration<double>(now - entry.used).count();
  const double uses = entry.hits + prior(entry.kind);
  return static_cast<double>(saved_tokens(entry)) * uses / (std::max(idle, 0.0) + kYoungSeconds);
}

// Returns an entry that nobody can find and nobody pins. If there is none, makes room for a state
// of this value; -1 if all others are pinned or worth as much.
int PrefixIndex::free_entry(double value, Time now) {
  int worst = -1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.pins > 0) continue;
    if (entry.keys == nullptr) return static_cast<int>(i);
    const double own = this->value(entry, now);
    if (own >= value) continue;
    worst = static_cast<int>(i);
    value = own;
  }
  if (worst < 0) return -1;
  forget(worst);
  ++num_evictions_;
  return worst;
}

void PrefixIndex::forget(int index) {
  Entry& entry = entries_[index];
  for (Entry& other : entries_) {
    if (other.parent == index) other.parent = entry.parent;
  }
  by_key_.erase(entry.key());
  entry.keys = nullptr;
}

}  // namespace deltaserve
