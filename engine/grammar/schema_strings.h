// Strings and numbers of a schema.
#pragma once
#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/dfa.h"
#include "engine/grammar/schema_context.h"

namespace deltaserve::grammar {

// A condition on the characters of a string.
struct StringContent {
  std::optional<Dfa> form;  // null: any characters
  uint32_t min = 0;         // characters
  uint32_t max = kUnlimited;
};

// Returns what pattern, format, minLength, maxLength, enum, const and `not` say about strings. The
// automaton holds lengths up to grammar_limits::kCounted itself.
absl::StatusOr<StringContent> string_content(const boost::json::object& schema,
                                             const SchemaContext& context);
// Returns the automaton of the strings that validate against `schema`, which may be of any kind. It
// holds all lengths. Keywords about other types have no say.
absl::StatusOr<Dfa> string_dfa(const boost::json::value& schema, const SchemaContext& context);

ExprOr string_expression(const boost::json::object& schema, const SchemaContext& context);
// With `whole`, only integers, and none of those whose texts are `excluded`.
ExprOr number_expression(const boost::json::object& schema, bool whole,
                         const std::vector<std::string>& excluded, const SchemaContext& context);

}  // namespace deltaserve::grammar
