// These parts let callers compose a grammar of their own from the sources that grammar.h compiles;
// regex_parser.h, ebnf_parser.h and json_schema.h have further ones.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/grammar.h"

namespace deltaserve::grammar {

// Returns an expression that matches one of `choices`.
absl::StatusOr<ExprId> add_choice(const std::vector<std::string>& choices, RuleSet* rules);
ExprId add_json_object(RuleSet* rules);
// Returns an expression that matches any bytes and control tokens up to the first of `markers`,
// which is not included. Markers are text or names of control tokens (token_table.h), and not
// empty.
ExprId add_free_text(const std::vector<std::string>& markers, RuleSet* rules);

// Compiles the grammar of the texts of `root`. Errors are those of grammar.h.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_rules(
    RuleSet* rules, ExprId root, const std::shared_ptr<GrammarMemory>& memory);

}  // namespace deltaserve::grammar
