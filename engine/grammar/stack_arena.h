// Stores the frames under the stacks of a pushdown automaton, and the keys that open objects have
// read. Both are linked lists that share their tails; equal stacks of frames have equal ids.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/grammar/pushdown.h"

namespace deltaserve::grammar {

// A state and the frames under it. In a unique key, `note` is the hash of the key so far; in a rule
// that counts it is the count (rule_memory.h); elsewhere it is the list of the keys and members
// that this call of the rule has read.
struct Stack {
  StateId state;
  uint32_t parent;  // a frame
  uint64_t note;

  friend bool operator==(const Stack&, const Stack&) = default;
};

class StackArena {
 public:
  static constexpr uint32_t kBottom = 0;  // under the root rule
  static constexpr uint32_t kNoKeys = 0;  // the empty list of keys
  static constexpr uint32_t kRefused = ~uint32_t{0};

  // The bottom counts as `bottom_depth` open rules.
  explicit StackArena(uint32_t bottom_depth = 0);

  // Returns a frame; `stack.state` is where its rule continues.
  uint32_t push(const Stack& stack);
  const Stack& frame(uint32_t id) const { return frames_[id].stack; }
  // Returns the number of frames from this one to the bottom.
  uint32_t depth(uint32_t id) const { return frames_[id].depth; }

  // Returns `keys` with one more key; kRefused if the list has it already.
  uint32_t add_key(uint32_t keys, uint64_t hash);
  bool has_key(uint32_t keys, uint64_t hash);
  // Returns the number of keys in a list.
  uint32_t key_count(uint32_t keys) const { return keys_[keys].count; }

  struct Mark {
    size_t frames;
    size_t keys;
  };
  Mark mark() const { return {frames_.size(), keys_.size()}; }
  // Forgets everything that was added after `mark`.
  void rewind(const Mark& mark);

  // Drops the frames that no stack of `live` needs if they are more than half, and renumbers the
  // rest.
  void compact(const Pushdown& grammar, std::vector<Stack>* live);

 private:
  struct Frame {
    Stack stack;
    uint32_t depth;
    uint32_t next_in_bucket;
  };
  struct Key {
    uint64_t hash = 0;
    uint32_t previous = 0;
    uint32_t count = 0;  // of the list up to this key
  };

  size_t bucket_of(const Stack& stack) const;
  void link(uint32_t id);
  void grow_buckets();

  std::vector<Frame> frames_;
  std::vector<uint32_t> buckets_;  // a power of two; the latest frame of each comes first
  std::vector<Key> keys_;
  std::vector<uint64_t> sorted_;  // the hashes of the list sorted_list_
  uint32_t sorted_list_ = kNoKeys;
  size_t compact_at_ = 1024;
};

}  // namespace deltaserve::grammar
