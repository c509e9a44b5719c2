// Look-aheads of regular expressions, as automata.
#pragma once
#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Returns an expression for the texts that `body` matches, or with `search` for those in which some
// part matches, without Expression::Op::kLookAhead. Look-aheads may occur only in the sequences of
// its outermost alternatives. INVALID_ARGUMENT if a '^' is at a place where it cannot be evaluated,
// or the automata exceed a limit.
absl::StatusOr<ExprId> without_look_aheads(ExprId body, bool search, RuleSet* rules);

}  // namespace deltaserve::grammar
