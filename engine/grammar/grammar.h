// Constrained decoding. A grammar is compiled once and can be used with any vocabulary; it then
// tells which tokens may come next so that the whole answer is a text of its language. Texts are
// UTF-8. An answer can always go on or end: no choice of allowed tokens leads into a dead end.
#pragma once
#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_options.h"
#include "engine/grammar/token_table.h"
#include "engine/sequence/token_constraint.h"

namespace deltaserve {

// A grammar ready for use. Immutable except for a cache. Thread safety: any thread at any time.
class CompiledGrammar;
class GrammarMemory;

// ---- Compilers of grammars. INVALID_ARGUMENT describes in one clause the place, keyword or rule
// at which the source is wrong, not supported, matches no text, or exceeds engine/grammar/limits.h.
// `memory` counts the bytes of the grammar and later its masks, null = not counted; UNAVAILABLE
// means that there is no room for the grammar.

// The whole answer must match `source`; regex_parser.h describes the syntax.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_regex(
    std::string_view source, const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer must be one of `choices`.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_choice(
    const std::vector<std::string>& choices,
    const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer must be a text of the rule `root`; ebnf_parser.h describes the syntax.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_ebnf(
    std::string_view source, const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer must be a JSON object. No object in it has a key twice.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_json_object(
    const std::shared_ptr<GrammarMemory>& memory = nullptr);
// The answer must be a JSON document that validates against `schema`; json_schema.h describes the
// supported keywords and which of the valid documents can be generated.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_json_schema(
    const boost::json::value& schema, const std::shared_ptr<GrammarMemory>& memory = nullptr,
    const SchemaOptions& options = {});

// Makes a constraint for a new answer. Without `end_tokens` the answer ends as soon as the grammar
// permits. A token that was not allowed ends it, too. INVALID_ARGUMENT if some byte that the
// grammar needs is not a token of its own, because an answer could then get stuck.
absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint(
    std::shared_ptr<const CompiledGrammar> grammar, std::shared_ptr<const TokenTable> table,
    std::vector<int32_t> end_tokens);

}  // namespace deltaserve
