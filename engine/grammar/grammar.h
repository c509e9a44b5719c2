// Constrained decoding: a grammar is compiled once, for a vocabulary of any kind, and then tells
// which tokens may come next so that the whole answer is a text of its language. Texts are UTF-8.
// An answer can always go on or end: no choice of allowed tokens leads into a dead end.
#pragma once
#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/token_table.h"
#include "engine/token_constraint.h"

namespace deltaserve {

// Immutable but for a cache. Thread safety: any thread at any time.
class CompiledGrammar;
class GrammarMemory;

// INVALID_ARGUMENT with one clause that names the place, keyword or rule, when the source is wrong,
// uses what is not supported, matches no text, or goes beyond engine/grammar/limits.h. `memory`
// counts what the grammar and later its masks take, null = nothing does; UNAVAILABLE when there is
// no room for the grammar.

// The whole answer matches `source`; its syntax is described in regex_parser.h.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_regex(
    std::string_view source, const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer is one of `choices`.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_choice(
    const std::vector<std::string>& choices,
    const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer is a text of the rule `root`; the syntax is described in ebnf_parser.h.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_ebnf(
    std::string_view source, const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer is a JSON object. No object in it has a key twice.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_json_object(
    const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer is a JSON document that validates against `schema`; json_schema.h says which keywords
// are supported, and which of the valid documents can be generated.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_json_schema(
    const boost::json::value& schema, const std::shared_ptr<GrammarMemory>& memory = nullptr);

// A constraint at the begin of an answer. Without `end_tokens` the answer ends as soon as it may. A
// token that was not allowed ends it, too. INVALID_ARGUMENT when some byte that the grammar needs
// is no token of its own, so that an answer could get stuck.
absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint(
    std::shared_ptr<const CompiledGrammar> grammar, std::shared_ptr<const TokenTable> table,
    std::vector<int32_t> end_tokens);

}  // namespace deltaserve
