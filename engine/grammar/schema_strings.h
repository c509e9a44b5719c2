// Makes expressions for the strings and numbers of a schema.
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

// Returns the condition that pattern, format, minLength, maxLength, enum, const and `not` put on
// strings. Lengths up to grammar_limits::kCounted are part of the automaton.
absl::StatusOr<StringContent> string_content(const boost::json::object& schema,
                                             const SchemaContext& context);
// Returns the automaton of the strings that validate against `schema`, which may be of any kind.
// All length bounds are part of it. Keywords about other types are ignored.
absl::StatusOr<Dfa> string_dfa(const boost::json::value& schema, const SchemaContext& context);

// Returns the JSON strings that validate against the schema.
ExprOr string_expression(const boost::json::object& schema, const SchemaContext& context);
// Returns the numbers that validate against the schema; only integers if `whole` is true. Those
// whose texts are in `excluded` are left out.
ExprOr number_expression(const boost::json::object& schema, bool whole,
                         const std::vector<std::string>& excluded, const SchemaContext& context);

}  // namespace deltaserve::grammar
