// JSON Schema as rules. Every document that is generated validates; not every valid document can be
// generated:
//
// - Supported: true and false; type; enum, const; properties, required, additionalProperties;
//   items, prefixItems, minItems, maxItems; minLength, maxLength, pattern, format (six of them:
//   string_formats.h); minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf 1; $ref to
//   "#" and "#/..."; allOf, anyOf; oneOf whose branches are told apart by type, enum, const or such
//   a property; nullable beside type. Annotations are ignored, all other keywords refused.
// - Properties come in the order of `properties`, then names that are only required. Others are
//   generated only where additionalProperties is given, or where there are no `properties`.
// - Without `type`, the types are those that the other keywords speak about.
// - enum and const stand beside `type` only, and are spelled in one way.
// - `pattern` is a search, as JSON Schema says, in the syntax of regex_parser.h.
// - Numbers have bounded digits (limits.h) and, with bounds, no exponent.
// - White space: one space at most, after ',' and ':'.
#pragma once
#include <boost/json/value.hpp>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Adds the rule of the whole schema and returns it. INVALID_ARGUMENT names the place in the schema
// (a JSON pointer) and the keyword.
absl::StatusOr<RuleId> add_schema_rules(const boost::json::value& schema, RuleSet* rules);

}  // namespace deltaserve::grammar
