// The free state slots. The states themselves are in the backend; a slot needs no clearing, because
// a sequence at position 0 starts from a zero state.
#pragma once
#include <vector>

namespace deltaserve {

class StatePool;

// Owns one slot and gives it back on destruction. Move-only; a default one holds nothing.
class StateSlot {
 public:
  StateSlot() = default;
  StateSlot(StateSlot&& other) noexcept;
  StateSlot& operator=(StateSlot&& other) noexcept;
  ~StateSlot() { release(); }

  explicit operator bool() const { return pool_ != nullptr; }
  // Returns the index of the slot, which must be held.
  int index() const;
  // Gives the slot back early; idempotent.
  void release();

 private:
  friend class StatePool;
  StateSlot(StatePool* pool, int index) : pool_(pool), index_(index) {}

  StatePool* pool_ = nullptr;
  int index_ = -1;
};

// Thread safety: one thread, the engine's. The pool must outlive its slots.
class StatePool {
 public:
  explicit StatePool(int num_slots);
  ~StatePool();
  StatePool(const StatePool&) = delete;
  StatePool& operator=(const StatePool&) = delete;

  // Takes a slot; empty if none is free. The slot freed last goes first, because its state is still
  // in the caches.
  StateSlot acquire();

  int num_slots() const { return num_slots_; }
  int num_free() const { return static_cast<int>(free_.size()); }

 private:
  friend class StateSlot;

  const int num_slots_;
  std::vector<int> free_;  // a stack
};

}  // namespace deltaserve
