// The kept states of prompts, found by the keys of the tokens that they have read, and the rule
// that decides which of them are worth their memory.
//
// A state has the value
//
//   tokens that only it saves * (hits + prior of its kind) / (seconds since its last use + 60)
//
// where "tokens that only it saves" are those after the nearest kept state of the same prompt, and
// hits fade by half every few minutes: otherwise old conversations with many hits would displace
// current ones. Every prompt counts as some seconds at least: under heavy traffic all states would
// otherwise be young, and none would make room for new ones. All states have the same size, so the
// least valuable one goes first.
//
// If the device has memory of its own, states can also be kept in the host's. A state that has to
// leave its slot is kept there if it is worth more than another, and is copied back when it is
// found. The index decides on these transfers; the engine queues them, in order, before the next
// step. The states that will leave next are stored ahead, so that the step which overwrites them
// need not wait.
#pragma once
#include <chrono>
#include <cstdint>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/reuse/prefix_keys.h"
#include "engine/reuse/reuse.h"
#include "engine/reuse/seen_points.h"
#include "engine/reuse/value_order.h"

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
  // Return the slot of the state, which must have one, and how many tokens it has read. It must be
  // held.
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

// A SnapshotTransfer copies a state from a slot to the host's memory, or back.
struct SnapshotTransfer {
  enum Kind { kStore, kLoad } kind = kStore;
  int slot = -1;
  int host_slot = -1;

  bool operator==(const SnapshotTransfer&) const = default;
};

// Thread safety: one thread, the engine's. The index must outlive its pins.
class PrefixIndex {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Found {
    SnapshotPin pin;   // the longest kept state that the prompt begins with; empty if there is none
    int64_t seen = 0;  // number of tokens with which an earlier prompt began, in whole chunks
  };

  // The states live in the slots [first_slot, first_slot + num_slots) and the host's slots [0,
  // num_host_slots). About `max_seen` grid points of the last prompts are remembered, also where no
  // state is kept. If prompts share nothing, find() finds nothing, and a state is forgotten as soon
  // as it is not pinned.
  PrefixIndex(int first_slot, int num_slots, int num_host_slots, size_t max_seen,
              bool shares = true);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // Looks up the beginning of a prompt. Counts as a use of the state that it returns.
  Found find(const PrefixKeys& keys, Time now);
  // Remembers that a prompt with these keys was read.
  void see(const PrefixKeys& keys);

  // Returns a slot for the state of the prompt's first `position` tokens, a grid point with a key;
  // empty if the state is kept already or not worth what it would replace. From now on the state
  // is found: the step that writes it must be queued before any that reads it. `uses` says how
  // often it is known to be needed; a state that is needed gets a slot unless all are pinned.
  SnapshotPin keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind,
                   const PrefixOwner& owner, double uses, Time now);
  // Pins the state of exactly these tokens; empty if it is not kept.
  SnapshotPin pin(const PrefixKeys& keys, int64_t position);
  // Returns the slot from which a step can read a pinned state. A state in the host's memory is
  // loaded: into a slot of the index if it is worth one, otherwise into `own`.
  int slot_to_read(const SnapshotPin& pin, int own, Time now);
  // Returns the transfers that were decided on since the last call, to be queued in this order
  // before the next step.
  std::vector<SnapshotTransfer> take_transfers() { return std::exchange(transfers_, {}); }

  // Forgets the states of an owner.
  void clear(const PrefixOwner& owner);

  // Forgets the less valuable half of the states, but none that is pinned. If no transfer waits,
  // take_dropped() then has all slots without a state.
  void trim(Time now);
  // Returns the slots whose memory has become unused since the last call, as the first of each run
  // of neighbours and their number. Their memory must be given back before the transfers that are
  // taken next.
  std::vector<std::pair<int, int>> take_dropped() { return std::exchange(dropped_, {}); }

  // Returns whether a prompt can begin with a state of another.
  bool shares() const { return shares_ && num_slots_ > 0; }
  // Returns whether any state can be kept.
  bool keeps() const { return num_slots_ > 0; }
  // Return how many states can be found, how many slots of either kind hold one, and how many
  // states were forgotten to make room.
  int num_kept() const { return static_cast<int>(by_key_.size()); }
  int num_in_slots() const { return num_slots_ - static_cast<int>(free_slots_.size()); }
  int num_in_host() const { return num_host_slots_ - static_cast<int>(free_host_slots_.size()); }
  int64_t num_evictions() const { return num_evictions_; }
  // Return how many transfers were decided on.
  int64_t num_stored() const { return num_stored_; }
  int64_t num_loaded() const { return num_loaded_; }
  // Returns how often the value of a state was computed.
  int64_t num_valued() const { return num_valued_; }

 private:
  friend class SnapshotPin;

  struct Entry {
    PrefixKeys keys;       // of the prompt of which it was kept; null = it cannot be found
    int64_t position = 0;  // tokens read
    int parent = -1;       // entry of the nearest kept state of fewer tokens that this one
                           // continues
    SnapshotKind kind = SnapshotKind::kLadder;
    PrefixOwner owner{};
    double hits = 0;  // at the time `used`
    Time used;
    int pins = 0;
    int slot = -1;       // of the device, from first_slot_ on; -1: the state has none
    int host_slot = -1;  // with a copy of the state, or with the state itself; -1: none

    const PrefixKey& key() const;
    double hits_at(Time now) const;
  };

  Time begin_prompt(Time now);
  Time aged(Time now) const { return now + ahead_; }
  int entry_of(const PrefixKeys& keys, int64_t position) const;
  int longest(const PrefixKeys& keys, int64_t most) const;
  // The states that continue another (-1: none), by the key of the chunk after it.
  using Child = std::tuple<int, PrefixKey, int>;
  Child as_child(int entry) const;
  void set_parent(int entry, int parent);
  void adopt(int entry);
  int64_t saved_tokens(const Entry& entry) const;
  double value(const Entry& entry, Time now) const;
  void order(int entry, Time until);
  void order_anew(int entry, Time now);
  void order_again(int entry) { order(entry, order_.until(entry)); }
  int least_valuable(std::initializer_list<ValueOrder::Place> places, double below, Time now);
  int free_slot(double value, Time now);
  int free_host_slot(double value, Time now);
  void store(int entry, Time now);
  void store_ahead(Time now);
  void forget(int entry);
  void release_slots(int entry);
  void drop_free_slots();

  const int first_slot_;
  const int num_slots_;
  const int num_host_slots_;
  const bool shares_;
  // Stacks of unused entries and slots.
  std::vector<int> free_entries_, free_slots_, free_host_slots_;
  std::vector<SnapshotTransfer> transfers_;
  std::vector<std::pair<int, int>> dropped_;
  std::vector<Entry> entries_;
  std::unordered_map<PrefixKey, int, PrefixKeyHash> by_key_;
  std::set<std::pair<PrefixOwner, int>> by_owner_;
  std::set<Child> children_;
  ValueOrder order_;  // of the states that can be found
  SeenPoints seen_;
  Time last_prompt_{};      // by the clock of the index
  Time::duration ahead_{};  // by which the index's clock is ahead of the caller's
  int64_t num_evictions_ = 0;
  int64_t num_stored_ = 0, num_loaded_ = 0;
  mutable int64_t num_valued_ = 0;
};

}  // namespace deltaserve
