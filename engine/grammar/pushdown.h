// A compiled grammar: one deterministic automaton a rule, over bytes and calls of rules, in flat
// tables. To read a text, a stack of states is kept, the rules that are open; a state may both read
// a byte and enter rules, so that there may be several stacks (stack_walker.h).
//
// Every state lies on the way of some text: what is entered can be completed.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

using StateId = uint16_t;
inline constexpr StateId kNoState = 0xFFFF;

using ByteSet = std::bitset<256>;

// Thread safety: constant after compile().
class Pushdown {
 public:
  struct Call {
    StateId entry;   // of the called rule, which reads at least one byte
    StateId resume;  // where the caller goes on
    uint16_t rule;
    uint16_t entry_need;  // rules beyond this one that must be open before it can end
    // Whether `resume` only ends the caller: then no frame is kept, and right recursion is flat.
    bool is_tail = false;
  };

  // INVALID_ARGUMENT when a rule calls itself before it reads anything, when no text matches, or
  // when a limit is passed.
  static absl::StatusOr<Pushdown> compile(const RuleSet& rules, RuleId root,
                                          AutomatonBudget* budget);

  StateId start() const { return start_; }
  StateId next(StateId state, uint8_t byte) const {
    return transitions_[state * classes_ + class_of_[byte]];
  }
  std::span<const Call> calls(StateId state) const {
    return {calls_.data() + first_call_[state], first_call_[state + 1] - first_call_[state]};
  }
  // Whether the rule may end here.
  bool accepting(StateId state) const { return accepting_[state]; }
  // Whether the rule may go on from here.
  bool goes_on(StateId state) const { return goes_on_[state]; }
  // Rules that must be open beyond this one before it can end; at most kStackDepth.
  uint32_t need(StateId state) const { return need_[state]; }
  bool in_unique_key(StateId state) const { return unique_key_[rule_of_[state]]; }
  // The bytes that a text of the rule may begin with.
  const ByteSet& first(uint16_t rule) const { return first_[rule]; }
  // The bytes that may come after the rule of `state`.
  const ByteSet& follow(StateId state) const { return follow_[rule_of_[state]]; }
  // The bytes that occur in texts.
  const ByteSet& alphabet() const { return alphabet_; }
  size_t states() const { return accepting_.size(); }
  // Of its tables, and of one pointer a state for the masks that are made of it.
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
};

}  // namespace deltaserve::grammar
