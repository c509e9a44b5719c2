#include "engine/reuse/prefix_index.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

// Returns how many uses a new state is expected to have.
double prior(SnapshotKind kind) {
  switch (kind) {
    case SnapshotKind::kBoundary:
    case SnapshotKind::kMark:
    case SnapshotKind::kReadAhead: return 0.5;
    case SnapshotKind::kDivergence: return 0.4;
    case SnapshotKind::kPromptEnd: return 0.3;
    case SnapshotKind::kLadder: return 0.05;
  }
  return 0;
}

constexpr double kYoungSeconds = 60;  // ages below this one count alike
constexpr double kHalfLife = 200;     // of hits, in seconds
// The least time by which a prompt makes all states older.
constexpr std::chrono::seconds kPromptTime{4};

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
  DS_CHECK(index_ != nullptr && index_->entries_[entry_].slot >= 0);
  return index_->first_slot_ + index_->entries_[entry_].slot;
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
  const PrefixIndex::Entry& entry = index_->entries_[entry_];
  const bool last = --index_->entries_[entry_].pins == 0;
  if (last && entry.keys == nullptr) index_->release_slots(entry_);
  index_ = nullptr;
  entry_ = -1;
}

PrefixIndex::PrefixIndex(int first_slot, int num_slots, int num_host_slots, size_t max_seen)
    : first_slot_(first_slot),
      num_slots_(num_slots),
      num_host_slots_(num_slots > 0 ? num_host_slots : 0),
      entries_(static_cast<size_t>(num_slots_ + num_host_slots_)),
      seen_(num_slots > 0 ? max_seen : 0) {
  const auto fill = [](int count, std::vector<int>* stack) {
    for (int i = count; i-- > 0;) stack->push_back(i);
  };
  fill(num_slots_ + num_host_slots_, &free_entries_);
  fill(num_slots_, &free_slots_);
  fill(num_host_slots_, &free_host_slots_);
}

PrefixIndex::~PrefixIndex() {
  DS_CHECK(std::none_of(entries_.begin(), entries_.end(),
                        [](const Entry& entry) { return entry.pins > 0; }));
}

const PrefixKey& PrefixIndex::Entry::key() const {
  return (*keys)[static_cast<size_t>(position / kChunkTokens - 1)];
}

double PrefixIndex::Entry::hits_at(Time now) const {
  return hits * std::exp2(-std::chrono::duration<double>(now - used).count() / kHalfLife);
}

// Returns the time at which a prompt is read, by the clock of the index: it follows the caller's
// clock, and jumps forward if two prompts are closer together than kPromptTime.
PrefixIndex::Time PrefixIndex::begin_prompt(Time now) {
  last_prompt_ = std::max(aged(now), last_prompt_ + kPromptTime);
  ahead_ = last_prompt_ - now;
  return last_prompt_;
}

PrefixIndex::Found PrefixIndex::find(const PrefixKeys& keys, Time now) {
  now = begin_prompt(now);
  Found found;
  size_t count = keys->size();
  while (count > 0 && !seen_.contains((*keys)[count - 1])) --count;
  found.seen = static_cast<int64_t>(count) * kChunkTokens;
  const int best = longest(keys, static_cast<int64_t>(keys->size()) * kChunkTokens);
  if (best < 0) return found;
  Entry& entry = entries_[best];
  entry.hits = entry.hits_at(now) + 1;
  entry.used = now;
  found.seen = std::max(found.seen, entry.position);
  found.pin = SnapshotPin(this, best);
  return found;
}

void PrefixIndex::see(const PrefixKeys& keys) {
  // Goes from the end, so that the first grid points stay if there are too many.
  for (size_t i = std::min(keys->size(), seen_.capacity()); i-- > 0;) seen_.add((*keys)[i]);
}

SnapshotPin PrefixIndex::keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind,
                              const PrefixOwner& owner, double uses, Time now) {
  DS_CHECK(position > 0 && position % kChunkTokens == 0);
  DS_CHECK(position / kChunkTokens <= static_cast<int64_t>(keys->size()));
  now = aged(now);
  if (const int kept = entry_of(keys, position); kept >= 0) {
    Entry& entry = entries_[kept];
    if (prior(kind) > prior(entry.kind)) entry.kind = kind;
    entry.hits = entry.hits_at(now);
    entry.used = now;
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
  wanted.slot = free_slot(value(wanted, now), now);
  if (wanted.slot < 0) return {};
  wanted.parent = longest(keys, position - kChunkTokens);  // the old one may have made room
  const int index = free_entries_.back();
  free_entries_.pop_back();
  entries_[index] = std::move(wanted);
  const Entry& entry = entries_[index];
  by_key_.emplace(entry.key(), index);
  for (Entry& other : entries_) {
    if (other.keys == nullptr || other.position <= position) continue;
    if (other.parent == entry.parent && goes_through(other, entry.key(), position)) {
      other.parent = index;
    }
  }
  SnapshotPin pin(this, index);
  store_ahead(now);
  return pin;
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

int PrefixIndex::slot_to_read(const SnapshotPin& pin, int own, Time now) {
  DS_CHECK(pin.index_ == this);
  now = aged(now);
  Entry& entry = entries_[pin.entry_];
  if (entry.slot >= 0) return first_slot_ + entry.slot;
  // A state that was forgotten while it was pinned cannot be found, so it needs no slot.
  if (entry.keys != nullptr) entry.slot = free_slot(value(entry, now), now);
  const int slot = entry.slot >= 0 ? first_slot_ + entry.slot : own;
  transfers_.push_back({SnapshotTransfer::kLoad, slot, entry.host_slot});
  ++num_loaded_;
  // A state that is stored there next is queued after this transfer.
  if (entry.slot >= 0) free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
  return slot;
}

void PrefixIndex::trim(Time now) {
  now = aged(now);
  std::vector<std::pair<double, int>> kept;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.keys != nullptr) kept.emplace_back(value(entry, now), static_cast<int>(i));
  }
  std::sort(kept.begin(), kept.end());
  for (size_t i = 0; i < kept.size() - kept.size() / 2; ++i) {
    const int index = kept[i].second;
    if (entries_[static_cast<size_t>(index)].pins > 0) continue;
    forget(index);
    ++num_evictions_;
  }
  // A transfer that reads one of them must come first, so none may wait.
  if (transfers_.empty()) drop_free_slots();
}

void PrefixIndex::drop_free_slots() {
  std::vector<int> slots = free_slots_;
  std::sort(slots.begin(), slots.end());
  dropped_.clear();
  for (const int slot : slots) {
    const int index = first_slot_ + slot;
    if (!dropped_.empty() && dropped_.back().first + dropped_.back().second == index) {
      ++dropped_.back().second;
    } else {
      dropped_.emplace_back(index, 1);
    }
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
  const double uses = entry.hits_at(now) + prior(entry.kind);
  return static_cast<double>(saved_tokens(entry)) * uses / (std::max(idle, 0.0) + kYoungSeconds);
}

// Returns the least valuable entry of those that are not pinned and for which leaves(entry) is
// true; -1 if the value of all is `below` or more.
template <class Leaves>
int PrefixIndex::least_valuable(double below, Time now, const Leaves& leaves) const {
  int worst = -1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.keys == nullptr || entry.pins > 0 || !leaves(entry)) continue;
    const double own = value(entry, now);
    if (own >= below) continue;
    worst = static_cast<int>(i);
    below = own;
  }
  return worst;
}

// Returns a slot without a state. If none is free, makes room for a state of this value; -1 if all
// others are pinned or at least as valuable.
int PrefixIndex::free_slot(double value, Time now) {
  if (free_slots_.empty()) {
    const int worst =
        least_valuable(value, now, [](const Entry& entry) { return entry.slot >= 0; });
    if (worst < 0) return -1;
    Entry& entry = entries_[worst];
    store(&entry, now);
    if (entry.host_slot >= 0) {
      free_slots_.push_back(std::exchange(entry.slot, -1));
    } else {
      forget(worst);
      ++num_evictions_;
    }
  }
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

// Does the same with a slot of the host. A state that has a slot of the device, too, only loses its
// copy.
int PrefixIndex::free_host_slot(double value, Time now) {
  if (num_host_slots_ == 0) return -1;
  if (free_host_slots_.empty()) {
    const int worst =
        least_valuable(value, now, [](const Entry& entry) { return entry.host_slot >= 0; });
    if (worst < 0) return -1;
    Entry& entry = entries_[worst];
    if (entry.slot >= 0) {
      free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
    } else {
      forget(worst);
      ++num_evictions_;
    }
  }
  const int slot = free_host_slots_.back();
  free_host_slots_.pop_back();
  return slot;
}

// Copies a state to the host's memory if there is no copy yet and its value justifies one.
void PrefixIndex::store(Entry* entry, Time now) {
  if (entry->host_slot >= 0) return;
  entry->host_slot = free_host_slot(value(*entry, now), now);
  if (entry->host_slot < 0) return;
  transfers_.push_back({SnapshotTransfer::kStore, first_slot_ + entry->slot, entry->host_slot});
  ++num_stored_;
}

// Copies the state that will leave its slot next, unless enough of them can leave at once.
void PrefixIndex::store_ahead(Time now) {
  constexpr int kReady = 4;
  if (num_host_slots_ == 0) return;
  const auto stored = [](const Entry& entry) { return entry.slot >= 0 && entry.host_slot >= 0; };
  const auto ready = std::count_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return stored(entry) && entry.pins == 0;
  });
  if (static_cast<int>(free_slots_.size() + static_cast<size_t>(ready)) >= kReady) return;
  const int next =
      least_valuable(std::numeric_limits<double>::infinity(), now,
                     [&](const Entry& entry) { return entry.slot >= 0 && entry.host_slot < 0; });
  if (next >= 0) store(&entries_[next], now);
}

// Makes a state impossible to find. Its slots are free as soon as it is not pinned.
void PrefixIndex::forget(int index) {
  Entry& entry = entries_[index];
  for (Entry& other : entries_) {
    if (other.parent == index) other.parent = entry.parent;
  }
  by_key_.erase(entry.key());
  entry.keys = nullptr;
  if (entry.pins == 0) release_slots(index);
}

void PrefixIndex::release_slots(int index) {
  Entry& entry = entries_[index];
  if (entry.slot >= 0) free_slots_.push_back(std::exchange(entry.slot, -1));
  if (entry.host_slot >= 0) free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
  free_entries_.push_back(index);
}

}  // namespace deltaserve
