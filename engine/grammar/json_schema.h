// JSON Schema as rules. Every document that is generated validates; not every valid document can be
// generated:
//
// - Supported: true and false; type; enum, const; properties, required, additionalProperties,
//   propertyNames, minProperties, maxProperties; items, prefixItems (or draft 7's list in `items`
//   with additionalItems), minItems, maxItems, uniqueItems of strings and of values that can be
//   counted, contains, minContains, maxContains where the contrary of what is contained can be
//   said; minLength, maxLength, pattern, format (string_formats.h); minimum, maximum,
//   exclusiveMinimum, exclusiveMaximum, multipleOf; $ref, $dynamicRef and $recursiveRef within the
//   document; allOf, anyOf; oneOf whose branches are told apart by type, enum, const or such a
//   property; dependentRequired, dependentSchemas; not and if where the contrary can be said
//   (schema_negation.h); unevaluatedProperties and unevaluatedItems (schema_unevaluated.h);
//   nullable beside type. Annotations and names that the specification does not have are ignored.
// - Properties come in the order of `properties`, then names that are only required; with
//   minProperties, maxProperties or propertyNames in any order. Others are generated only where
//   additionalProperties is given, or where there are no `properties`.
// - Without `type`, the types are those that the other keywords speak about.
// - enum and const stand beside `type` and `not` only, and are spelled in one way.
// - `pattern` is a search, as JSON Schema says, in the syntax of regex_parser.h.
// - Numbers have bounded digits (limits.h) and, with bounds, no exponent.
// - White space: as SchemaOptions say.
#pragma once
#include <boost/json/value.hpp>

#include "absl/status/statusor.h"
#include "engine/grammar/argument_syntax.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/schema_options.h"

namespace deltaserve::grammar {

// Adds the rule of the whole schema and returns it. INVALID_ARGUMENT names the place in the schema
// (a JSON pointer) and the keyword.
absl::StatusOr<RuleId> add_schema_rules(const boost::json::value& schema,
                                        const SchemaOptions& options, RuleSet* rules);

// Adds the rules of the arguments that `schema`, an object's, permits, and returns an expression
// for them and the end. INVALID_ARGUMENT as above, also if a name cannot be written so.
absl::StatusOr<ExprId> add_argument_rules(const boost::json::value& schema,
                                          const ArgumentSyntax& syntax,
                                          const SchemaOptions& options, RuleSet* rules);

}  // namespace deltaserve::grammar
