// Two schemas that must both hold as one: for allOf, for keywords beside $ref or anyOf, and the
// question whether both can hold at all, for oneOf.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_keywords.h"

namespace deltaserve::grammar {

// A schema that is valid where both are. Neither may have $ref or allOf; annotations and
// definitions are left out. INVALID_ARGUMENT that names the keywords that cannot be merged.
absl::StatusOr<boost::json::object> merge_schemas(const boost::json::object& a,
                                                  const boost::json::object& b);

// The values that `enum` and `const` leave; null without them.
std::optional<boost::json::array> values_of(const boost::json::object& schema);

// Whether no document that is generated from one of them can be valid under the other, as far as
// type, enum, const and a required property with different enum or const can tell. `outer` are the
// types that keywords beside the oneOf leave; null when there are none.
absl::StatusOr<bool> surely_disjoint(const boost::json::value& a, const boost::json::value& b,
                                     std::optional<Types> outer);

}  // namespace deltaserve::grammar
