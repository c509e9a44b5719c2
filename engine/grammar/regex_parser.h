// Regular expressions as expressions. The common part of ECMAScript's and Python's syntax:
// characters, `.`, classes, groups (named or not), | * + ? {m} {m,} {m,n} (lazy ones mean the
// same), ^ $, \d \w \s \D \W \S as in ECMAScript, \t \n \r \f \v \0 \xHH \uHHHH.
// Refused: look-around, back-references, \b, \p, flags, possessive quantifiers.
#pragma once
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Returns an expression that matches a whole text. INVALID_ARGUMENT names the byte of the mistake.
absl::StatusOr<ExprId> parse_regex(std::string_view source, RuleSet* rules);

// Returns the minimal automaton of `source`. With `search` it accepts every text in which some part
// matches, otherwise only texts that match as a whole.
absl::StatusOr<Dfa> regex_dfa(std::string_view source, AutomatonBudget* budget,
                              bool search = false);

// Parses one of our own regexes, which must be valid.
ExprId builtin_regex(std::string_view source, RuleSet* rules);

}  // namespace deltaserve::grammar
