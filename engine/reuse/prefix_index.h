// The states that are kept of prompts, found by the keys of what they have read, and the rule that
// says which of them are worth their memory.
//
// A state has the value
//
//   tokens that only it saves * (hits + prior of its kind) / (seconds since its last use + 60)
//
// where "tokens that only it saves" are those behind the nearest kept state of the same prompt. All
// states have the same size, so the least valuable one goes first.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/reuse/prefix_keys.h"
#include "engine/reuse/reuse.h"

namespace deltaserve {

class PrefixIndex;

// Keeps a state from being overwritten while work that reads or writes it is not queued. Copyable
// only by pin_again(); a default one holds nothing.
class SnapshotPin {
 public:
  SnapshotPin() = default;
  SnapshotPin(SnapshotPin&& other) noexcept;
  SnapshotPin& operator=(SnapshotPin&& other) noexcept;
  ~SnapshotPin() { release(); }

  explicit operator bool() const { return index_ != nullptr; }
  // Return the slot of the state, and how many tokens it has read. It must be held.
  int slot() const;
  int64_t position() const;
  SnapshotPin pin_again() const;
  void release();

 private:
  friend class PrefixIndex;
  SnapshotPin(PrefixIndex* index, int entry);

  PrefixIndex* index_ = nullptr;
  int entry_ = -1;
};

// Thread safety: one thread, the engine's. The index must outlive its pins.
class PrefixIndex {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Found {
    SnapshotPin pin;   // the longest kept state that the prompt begins with; empty if there is none
    int64_t seen = 0;  // as many tokens did an earlier prompt begin with, in whole chunks
  };

  // The states live in the slots [first_slot, first_slot + num_slots). The grid points of the last
  // prompts are remembered, at most `max_seen` of them, also where no state is kept.
  PrefixIndex(int first_slot, int num_slots, size_t max_seen);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // Finds what is known of a prompt's beginning. Counts as a use of the state it returns.
  Found find(const PrefixKeys& keys, Time now);
  // Remembers that a prompt with these keys was read.
  void see(const PrefixKeys& keys);

  // Returns a slot for the state of the prompt's first `position` tokens, a grid point with a key;
  // empty if the state is kept already or not worth what it would replace. From now on the state
  // is found: the step that writes it must be queued before any that reads it. `uses` says how
  // often it is known to be needed.
  SnapshotPin keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind,
                   const PrefixOwner& owner, float uses, Time now);
  // Pins the state of exactly these tokens; empty if it is not kept.
  SnapshotPin pin(const PrefixKeys& keys, int64_t position);

  // Forgets the states of an owner.
  void clear(const PrefixOwner& owner);

  int num_slots() const { return static_cast<int>(entries_.size()); }
  int num_kept() const { return static_cast<int>(by_key_.size()); }
  int64_t num_evictions() const { return num_evictions_; }

 private:
  friend class SnapshotPin;

  struct Entry {
    PrefixKeys keys;       // of the prompt it was kept of; null = nobody can find it
    int64_t position = 0;  // tokens read
    int parent = -1;       // entry of the nearest kept state of fewer tokens that it goes on from
    SnapshotKind kind = SnapshotKind::kLadder;
    PrefixOwner owner{};
    float hits = 0;
    Time used;
    int pins = 0;

    const PrefixKey& key() const;
  };

  int entry_of(const PrefixKeys& keys, int64_t position) const;
  int longest(const PrefixKeys& keys, int64_t most) const;
  bool goes_through(const Entry& entry, const PrefixKey& key, int64_t position) const;
  int64_t saved_tokens(const Entry& entry) const;
  double value(const Entry& entry, Time now) const;
  int free_entry(double value, Time now);
  void forget(int entry);

  const int first_slot_;
  const size_t max_seen_;
  std::vector<Entry> entries_;
  std::unordered_map<PrefixKey, int, PrefixKeyHash> by_key_;
  std::unordered_set<PrefixKey, PrefixKeyHash> seen_;
  std::deque<PrefixKey> seen_order_;  // oldest first
  int64_t num_evictions_ = 0;
};

}  // namespace deltaserve
