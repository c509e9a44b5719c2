// Moves stacks of a pushdown automaton over bytes.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/grammar/pushdown.h"
#include "engine/grammar/stack_arena.h"

namespace deltaserve::grammar {

class StackWalker {
 public:
  // Says whether keys that may not occur twice, and members, are compared. If not, touched_key()
  // tells whether the result depends on them.
  enum class Keys { kCompare, kIgnore };

  StackWalker(const Pushdown& grammar, StackArena* arena, Keys keys)
      : grammar_(grammar), arena_(arena), keys_(keys) {}

  // Appends the stacks after `byte` to *out, without duplicates from index `begin` on. If it ends
  // the rule above frame `base`, that frame goes to exits() instead, with the key that has ended
  // there.
  void step(const Stack& stack, uint8_t byte, uint32_t base, std::vector<Stack>* out, size_t begin);
  const std::vector<uint32_t>& exits() const { return exits_; }
  bool touched_key() const { return touched_key_; }
  void clear_exits() {
    exits_.clear();
    touched_key_ = false;
  }

  struct Result {
    bool complete = false;      // the text may end here
    std::vector<Stack> stacks;  // where it may continue
  };
  // Reads `bytes` from `stack`, or from where the rule above `frame` has just ended. Without
  // `result` it stops as soon as it is certain that `bytes` may come. Stacks do not affect one
  // another.
  bool read(const Stack& stack, std::string_view bytes, Result* result);
  bool read_after(uint32_t frame, std::string_view bytes, Result* result);

  // Returns the deepest stack that any step so far needed, including completed rules.
  uint32_t reach() const { return reach_; }

 private:
  struct Pending {
    Stack stack;
    size_t offset;  // of the next byte

    friend bool operator==(const Pending&, const Pending&) = default;
  };

  // Returns true if a rule at `depth` can still end within the limit of the stack.
  bool fits(uint32_t depth, uint32_t need);
  void enter_calls(const Stack& stack, uint8_t byte);
  bool may_enter(const Stack& stack, const Pushdown::Call& call, uint32_t depth);
  // Updates a stack's note after a byte or the end of a call has led to its state. Returns false if
  // the text of the rule could not end from there.
  bool arrive(Stack* stack);
  bool arrive_at_member(Stack* stack);
  bool arrive_in_key(const Stack& stack);
  Stack resumed(uint32_t frame);
  void land(Stack stack, uint32_t base, std::vector<Stack>* out, size_t begin);
  uint32_t frame_with_key(uint32_t frame, uint64_t hash);
  bool read_pending(std::string_view bytes, Result* result);
  void leave_rule(uint32_t frame, size_t offset, std::string_view bytes, Result* result);
  void add_pending(const Pending& pending);

  const Pushdown& grammar_;
  StackArena* arena_;
  const Keys keys_;
  uint32_t reach_ = 0;
  std::vector<uint32_t> exits_;
  bool touched_key_ = false;
  // ---- Scratch memory
  std::vector<Stack> entered_;
  std::vector<Pending> pending_;
  std::vector<Stack> now_;
  std::vector<Stack> next_;
  bool accepted_ = false;
};

}  // namespace deltaserve::grammar
