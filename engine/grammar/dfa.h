// Automata over bytes and calls of rules. A Dfa is deterministic for each symbol, which is a byte
// or a rule. Where both a byte and a rule are possible, the reader of a text tries both
// (pushdown.h).
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/nfa.h"

namespace deltaserve::grammar {

struct Dfa {
  struct ByteEdge {
    uint8_t first;
    uint8_t last;  // inclusive
    uint32_t target;
  };
  struct CallEdge {
    uint32_t rule;
    uint32_t target;  // where reading continues after the rule
  };
  struct State {
    std::vector<ByteEdge> bytes;  // ascending and disjoint
    std::vector<CallEdge> calls;  // one per rule
    uint32_t mark = 0;            // the mark of this place in the rule, see Expression::Op::kMark
    bool accepting = false;
  };
  std::vector<State> states;  // states[0] is the start; never empty
};

// The number of steps that all automata of one grammar may still take together.
class AutomatonBudget {
 public:
  void spend(size_t steps) { left_ -= std::min(left_, steps); }
  // Returns INVALID_ARGUMENT if no steps are left, or the error of check_wanted().
  absl::Status status() const;

 private:
  size_t left_ = grammar_limits::kAutomatonSteps;
};

// Makes parts of an Nfa deterministic and, unless they are large, minimal.
class Determinizer {
 public:
  // Both arguments must outlive this object.
  Determinizer(const Nfa& nfa, AutomatonBudget* budget);
  // Returns the automaton of the texts between two states. INVALID_ARGUMENT if all parts together
  // exceed grammar_limits::kStates or the budget is spent.
  absl::StatusOr<Dfa> run(uint32_t start, uint32_t final);

 private:
  // Ascending; only states that have a mark or that more than epsilon leaves.
  using StateSet = std::vector<uint32_t>;
  struct StateSetHash {
    size_t operator()(const StateSet& set) const;
  };

  uint32_t id_of(StateSet set);
  StateSet closure(const StateSet& from, bool at_text_begin);
  bool accepts(const StateSet& set, bool at_text_begin);
  void expand(uint32_t id);
  void add_call(uint32_t rule, uint32_t target);
  absl::Status check_budget() const;

  const Nfa& nfa_;
  AutomatonBudget* budget_;
  uint32_t final_ = 0;
  Dfa dfa_;
  std::vector<const StateSet*> sets_;  // by state of dfa_
  StateSet start_set_;
  std::unordered_map<StateSet, uint32_t, StateSetHash> ids_;
  // ---- Scratch memory of expand()
  std::vector<StateSet> targets_;  // by class of bytes
  std::vector<std::pair<uint32_t, StateSet>> calls_;
  std::vector<uint32_t> visited_;  // by state of nfa_: the last visit()
  uint32_t visit_ = 0;
  size_t states_ = 0;  // of all parts up to now
};

// Returns the smallest automaton with the same language. All states of `dfa` must be reachable. A
// large one is returned unchanged.
Dfa minimize(const Dfa& dfa, AutomatonBudget* budget);

// ---- For automata without calls. These functions return INVALID_ARGUMENT beyond
// grammar_limits::kProductStates, or when the budget is spent.

// Returns an automaton of the texts that both accept.
absl::StatusOr<Dfa> intersect(const Dfa& a, const Dfa& b, AutomatonBudget* budget);
// Returns an automaton of the texts that `a` accepts and `b` does not.
absl::StatusOr<Dfa> subtract(const Dfa& a, const Dfa& b, AutomatonBudget* budget);
// Returns an automaton of the texts of `content`, which are UTF-8, as they are written between the
// quotes of a JSON string. Each has one spelling, with escapes only where JSON demands them. Marks
// stay.
Dfa json_escaped(const Dfa& content);
// Gives `mark` to every state that is between two characters of a text, which is UTF-8.
void mark_characters(uint32_t mark, Dfa* dfa);
// Returns the number of characters of the longest text; nullopt if there is no longest one.
std::optional<size_t> longest_text(const Dfa& dfa);

// Returns how many texts an automaton without calls accepts, `most` if there are as many or more.
size_t num_texts(const Dfa& dfa, size_t most);
// Returns an automaton of all strings of bytes that contain none of `markers`, which are not empty.
Dfa bytes_without(const std::vector<std::string>& markers);

}  // namespace deltaserve::grammar
