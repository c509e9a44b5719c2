// The rules of a grammar as one nondeterministic automaton. Each rule is a part of it; calls are
// edges of their own kind.
#pragma once
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/nfa.h"

namespace deltaserve::grammar {

struct RuleNfa {
  struct Part {
    RuleId rule;
    uint32_t start;
    uint32_t final;
    bool nullable = false;  // matches the empty text
  };
  Nfa nfa;                  // indexed; a call of a nullable rule has an epsilon edge too
  std::vector<Part> parts;  // parts[0] is the root; calls name the index into parts
};

// Builds `root` and the rules it calls. Small rules that do not call themselves are expanded in
// place. INVALID_ARGUMENT if a repetition makes it too large.
absl::StatusOr<RuleNfa> build_rule_nfa(const RuleSet& rules, RuleId root);

// Returns for each rule whether every call of it is expanded in place.
std::vector<bool> plan_inlining(const RuleSet& rules);

// Returns the automaton of one rule that calls no other.
absl::StatusOr<Dfa> rule_dfa(const RuleSet& rules, RuleId rule, AutomatonBudget* budget);

}  // namespace deltaserve::grammar
