// Grammars in the EBNF of GGML ("GBNF"):
//   root ::= "yes" | item ("," item)*   # a comment
//   item ::= [a-z0-9]+ | [^"\\] | . | word{2,4}
// A rule ends where the next `name ::=` begins. Escapes in "..." and [...]: \n \r \t \\ \" \] \[
// \- \^ \xHH \uHHHH \UHHHHHHHH, each one character. `root` is the start.
#pragma once
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Returns the rule `root`. INVALID_ARGUMENT names the byte of the mistake or the missing rule.
absl::StatusOr<RuleId> parse_ebnf(std::string_view source, RuleSet* rules);

}  // namespace deltaserve::grammar
