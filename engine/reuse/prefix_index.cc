#include "engine/reuse/prefix_index.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
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

// Returns the part by which the lower bound of a value is below it. A search computes the values
// that are above the least by less than this part, and a small part needs new bounds more often:
// for n states the sum of both grows with the root of n.
double bound_part(size_t num_states) {
  return std::min(0.25, 4 / std::sqrt(static_cast<double>(num_states)));
}

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
  if (last && entry.keys != nullptr && !index_->shares_) {
    index_->forget(entry_);
  } else if (last && entry.keys == nullptr) {
    index_->release_slots(entry_);
  }
  index_ = nullptr;
  entry_ = -1;
}

PrefixIndex::PrefixIndex(int first_slot, int num_slots, int num_host_slots, size_t max_seen,
                         bool shares)
    : first_slot_(first_slot),
      num_slots_(num_slots),
      num_host_slots_(num_slots > 0 ? num_host_slots : 0),
      shares_(shares),
      entries_(static_cast<size_t>(num_slots_ + num_host_slots_)),
      order_(entries_.size()),
      seen_(num_slots > 0 && shares ? max_seen : 0) {
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
  if (!shares()) return found;
  size_t count = keys->size();
  while (count > 0 && !seen_.contains((*keys)[count - 1])) --count;
  found.seen = static_cast<int64_t>(count) * kChunkTokens;
  const int best = longest(keys, static_cast<int64_t>(keys->size()) * kChunkTokens);
  if (best < 0) return found;
  Entry& entry = entries_[best];
  entry.hits = entry.hits_at(now) + 1;
  entry.used = now;
  order_anew(best, now);
  found.seen = std::max(found.seen, entry.position);
  found.pin = SnapshotPin(this, best);
  return found;
}

void PrefixIndex::see(const PrefixKeys& keys) {
  if (!shares()) return;
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
    order_anew(kept, now);
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
  const double own = value(wanted, now);
  wanted.slot = free_slot(uses > 0 ? std::numeric_limits<double>::infinity() : own, now);
  if (wanted.slot < 0) return {};
  wanted.parent = longest(keys, position - kChunkTokens);  // the old one may have made room
  const int index = free_entries_.back();
  free_entries_.pop_back();
  entries_[index] = std::move(wanted);
  const Entry& entry = entries_[index];
  by_key_.emplace(entry.key(), index);
  by_owner_.emplace(owner, index);
  adopt(index);
  order_anew(index, now);
  SnapshotPin pin(this, index);
  store_ahead(now);
  return pin;
}

SnapshotPin PrefixIndex::pin(const PrefixKeys& keys, int64_t position) {
  const int entry = entry_of(keys, position);
  return entry < 0 ? SnapshotPin() : SnapshotPin(this, entry);
}

void PrefixIndex::clear(const PrefixOwner& owner) {
  for (auto i = by_owner_.lower_bound({owner, 0}); i != by_owner_.end() && i->first == owner;) {
    const int entry = i->second;
    ++i;
    forget(entry);
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
  if (entry.slot >= 0) {
    free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
    order_again(pin.entry_);
  }
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

PrefixIndex::Child PrefixIndex::as_child(int index) const {
  const Entry& entry = entries_[index];
  const int64_t begin = entry.parent < 0 ? 0 : entries_[entry.parent].position;
  return {entry.parent, (*entry.keys)[static_cast<size_t>(begin / kChunkTokens)], index};
}

void PrefixIndex::set_parent(int entry, int parent) {
  children_.erase(as_child(entry));
  entries_[entry].parent = parent;
  children_.insert(as_child(entry));
  order_again(entry);
}

// Puts a new entry between its parent and those of the parent's children that continue it.
void PrefixIndex::adopt(int index) {
  const Entry& entry = entries_[index];
  const auto [parent, branch, itself] = as_child(index);
  const auto point = static_cast<size_t>(entry.position / kChunkTokens - 1);
  std::vector<int> adopted;
  for (auto i = children_.lower_bound({parent, branch, 0}); i != children_.end(); ++i) {
    const auto& [other_parent, other_branch, child] = *i;
    if (other_parent != parent || other_branch != branch) break;
    const Entry& other = entries_[child];
    if (other.position > entry.position && (*other.keys)[point] == entry.key()) {
      adopted.push_back(child);
    }
  }
  children_.emplace(parent, branch, itself);
  for (const int child : adopted) set_parent(child, index);
}

int64_t PrefixIndex::saved_tokens(const Entry& entry) const {
  return entry.position - (entry.parent < 0 ? 0 : entries_[entry.parent].position);
}

double PrefixIndex::value(const Entry& entry, Time now) const {
  ++num_valued_;
  const double idle = std::chrono::duration<double>(now - entry.used).count();
  const double uses = entry.hits_at(now) + prior(entry.kind);
  return static_cast<double>(saved_tokens(entry)) * uses / (std::max(idle, 0.0) + kYoungSeconds);
}

// Orders an entry by its value at `until`, less what rounding may add.
void PrefixIndex::order(int index, Time until) {
  const Entry& entry = entries_[index];
  const ValueOrder::Place place = entry.slot < 0        ? ValueOrder::kInHost
                                  : entry.host_slot < 0 ? ValueOrder::kInSlot
                                                        : ValueOrder::kInBoth;
  order_.set(index, place, value(entry, until) * (1 - 1e-9), until);
}

// Does so with a bound that holds for some time from now on.
void PrefixIndex::order_anew(int index, Time now) {
  const Entry& entry = entries_[index];
  const double idle = std::max(std::chrono::duration<double>(now - entry.used).count(), 0.0);
  const double part = bound_part(entries_.size());
  double seconds = part * (idle + kYoungSeconds);
  if (entry.hits_at(now) > part * prior(entry.kind)) {
    seconds = std::min(seconds, part * kHalfLife);  // hits lose less than the part
  }
  order(index,
        now + std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(seconds)));
}

// Returns the least valuable entry of those in the given places that are not pinned; -1 if the
// value of all is `below` or more.
int PrefixIndex::least_valuable(std::initializer_list<ValueOrder::Place> places, double below,
                                Time now) {
  for (int i = order_.outdated(now); i >= 0; i = order_.outdated(now)) order_anew(i, now);
  return order_.least(places, below, [&](int index) -> std::optional<double> {
    const Entry& entry = entries_[index];
    if (entry.pins > 0) return std::nullopt;
    return value(entry, now);
  });
}

// Returns a slot without a state. If none is free, makes room for a state of this value; -1 if all
// others are pinned or at least as valuable.
int PrefixIndex::free_slot(double value, Time now) {
  if (free_slots_.empty()) {
    const int worst = least_valuable({ValueOrder::kInSlot, ValueOrder::kInBoth}, value, now);
    if (worst < 0) return -1;
    store(worst, now);
    Entry& entry = entries_[worst];
    if (entry.host_slot >= 0) {
      free_slots_.push_back(std::exchange(entry.slot, -1));
      order_again(worst);
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
    const int worst = least_valuable({ValueOrder::kInBoth, ValueOrder::kInHost}, value, now);
    if (worst < 0) return -1;
    Entry& entry = entries_[worst];
    if (entry.slot >= 0) {
      free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
      order_again(worst);
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
void PrefixIndex::store(int index, Time now) {
  Entry& entry = entries_[index];
  if (entry.host_slot >= 0) return;
  entry.host_slot = free_host_slot(value(entry, now), now);
  if (entry.host_slot < 0) return;
  order_again(index);
  transfers_.push_back({SnapshotTransfer::kStore, first_slot_ + entry.slot, entry.host_slot});
  ++num_stored_;
}

// Copies the state that will leave its slot next, unless enough of them can leave at once.
void PrefixIndex::store_ahead(Time now) {
  constexpr int kReady = 4;
  if (num_host_slots_ == 0) return;
  const int missing = kReady - static_cast<int>(std::min<size_t>(free_slots_.size(), kReady));
  const auto free_to_go = [this](int entry) { return entries_[entry].pins == 0; };
  if (order_.count(ValueOrder::kInBoth, missing, free_to_go) >= missing) return;
  const int next =
      least_valuable({ValueOrder::kInSlot}, std::numeric_limits<double>::infinity(), now);
  if (next >= 0) store(next, now);
}

// Makes a state impossible to find. Its slots are free as soon as it is not pinned.
void PrefixIndex::forget(int index) {
  Entry& entry = entries_[index];
  const Child first{index, PrefixKey{}, 0};
  for (auto i = children_.lower_bound(first); i != children_.end() && std::get<0>(*i) == index;
       i = children_.lower_bound(first)) {
    set_parent(std::get<2>(*i), entry.parent);
  }
  children_.erase(as_child(index));
  order_.remove(index);
  by_owner_.erase({entry.owner, index});
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
