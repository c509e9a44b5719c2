// Rules as one nondeterministic automaton: each rule a part of it, calls an edge kind of their own.
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
  Nfa nfa;                  // indexed; a call of a nullable rule has an epsilon edge beside it
  std::vector<Part> parts;  // parts[0] is the root; calls name the index into parts
};

// `root` and what it calls. Small rules that do not call themselves are expanded in place.
// INVALID_ARGUMENT when a repetition makes it too large.
absl::StatusOr<RuleNfa> build_rule_nfa(const RuleSet& rules, RuleId root);

// For each rule, whether every call of it is expanded in place.
std::vector<bool> plan_inlining(const RuleSet& rules);

// The automaton of one rule that calls none.
absl::StatusOr<Dfa> rule_dfa(const RuleSet& rules, RuleId rule, AutomatonBudget* budget);

}  // namespace deltaserve::grammar
