// Regular expressions as expressions. The common part of ECMAScript's and Python's syntax:
// characters, `.`, classes, groups (named or not), | * + ? {m} {m,} {m,n} (lazy ones mean the
// same), ^ $, \d \w \s \D \W \S as in ECMAScript, \t \n \r \f \v \0 \xHH \uHHHH, and outside of
// groups the look-aheads (?=...) and (?!...).
// Refused: look-behind, look-ahead in groups, back-references, \b, \p, flags, possessive
// quantifiers.
#pragma once
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Returns an expression that matches a whole text. INVALID_ARGUMENT names the byte of the mistake.
// With `search` it matches every text in which some part matches.
absl::StatusOr<ExprId> parse_regex(std::string_view source, RuleSet* rules, bool search = false);

// Returns the minimal automaton of `source`.
absl::StatusOr<Dfa> regex_dfa(std::string_view source, AutomatonBudget* budget,
                              bool search = false);

// Parses one of our own regexes, which must be valid.
ExprId builtin_regex(std::string_view source, RuleSet* rules);

}  // namespace deltaserve::grammar
