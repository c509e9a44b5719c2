// Computes how deep the stack of open rules must grow before a rule can end.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/grammar/dfa.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/rule_nfa.h"

namespace deltaserve::grammar {

// The need of a state from which its rule cannot end within grammar_limits::kStackDepth.
inline constexpr uint32_t kUseless = ~uint32_t{0};

// Returns for each state of all automata, one after the other, how many rules beyond its own must
// be opened before its own can end; then for each part the same for its entry. A rule that is
// called must read something: its entry is a second copy of its start, which does not accept.
// `automata` are by part of `nfa`.
std::vector<uint32_t> find_needs(const RuleSet& rules, const RuleNfa& nfa,
                                 const std::vector<Dfa>& automata);

}  // namespace deltaserve::grammar
