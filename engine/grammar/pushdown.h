// A compiled grammar: one deterministic automaton per rule, over bytes and calls of rules, in flat
// tables. A reader of a text keeps a stack of states, one per open rule. A state may both read a
// byte and enter rules, so there may be several stacks at once (stack_walker.h).
//
// Every state is part of some text: any rule that is entered can be completed.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/rule_memory.h"

namespace deltaserve::grammar {

using ByteSet = std::bitset<256>;

// Thread safety: constant after compile().
class Pushdown {
 public:
  struct Call {
    StateId entry;   // of the called rule, which reads at least one byte
    StateId resume;  // where the caller continues
    uint16_t rule;
    uint16_t entry_need;  // rules beyond this one that must be open before it can end
    // Is true if `resume` only ends the caller. Then no frame is kept, so right recursion does not
    // grow the stack.
    bool is_tail = false;
  };

  // Returns INVALID_ARGUMENT if a rule calls itself before it reads anything, if no text matches,
  // or if a limit is exceeded.
  static absl::StatusOr<Pushdown> compile(const RuleSet& rules, RuleId root,
                                          AutomatonBudget* budget);

  StateId start() const { return start_; }
  StateId next(StateId state, uint8_t byte) const {
    return transitions_[state * classes_ + class_of_[byte]];
  }
  std::span<const Call> calls(StateId state) const {
    return {calls_.data() + first_call_[state], first_call_[state + 1] - first_call_[state]};
  }
  // Returns true if the rule may end here.
  bool accepting(StateId state) const { return accepting_[state]; }
  // Returns true if the rule may go on from here.
  bool goes_on(StateId state) const { return goes_on_[state]; }
  // Returns how many more rules must be open before this one can end; at most kStackDepth.
  uint32_t need(StateId state) const { return need_[state]; }
  bool in_unique_key(StateId state) const { return unique_key_[rule_of_[state]]; }
  uint16_t rule_of(StateId state) const { return rule_of_[state]; }
  const RuleMemory& memory() const { return memory_; }
  // Returns true if the note of a stack at `state` is a list of keys and members (stack_arena.h).
  bool has_list(StateId state) const {
    return !in_unique_key(state) && memory_.kind(state) != RuleMemory::Kind::kCount;
  }
  // Returns the bytes that a text of the rule may begin with.
  const ByteSet& first(uint16_t rule) const { return first_[rule]; }
  // Returns the bytes that may come after the rule of `state`.
  const ByteSet& follow(StateId state) const { return follow_[rule_of_[state]]; }
  // Returns the bytes of text that the vocabulary must have: those that may come at states where
  // not every byte may come, without the names of control tokens (token_table.h).
  const ByteSet& alphabet() const { return alphabet_; }
  size_t states() const { return accepting_.size(); }
  // Returns the bytes of the tables, plus one pointer per state for its mask.
  size_t bytes() const;

 private:
  friend class PushdownCompiler;

  StateId start_ = 0;
  size_t classes_ = 1;
  std::array<uint8_t, 256> class_of_{};
  std::vector<StateId> transitions_;  // [states, classes]
  std::vector<uint32_t> first_call_;  // by state, one more at the end
  std::vector<Call> calls_;
  std::vector<bool> accepting_;
  std::vector<bool> goes_on_;
  std::vector<uint16_t> need_;
  std::vector<uint16_t> rule_of_;
  std::vector<bool> unique_key_;  // by rule
  std::vector<ByteSet> first_;    // by rule
  std::vector<ByteSet> follow_;   // by rule
  ByteSet alphabet_;
  RuleMemory memory_;
};

}  // namespace deltaserve::grammar
