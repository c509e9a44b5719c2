// Merges two schemas that must both hold into one: for allOf and for keywords beside $ref or anyOf.
// Also decides, for oneOf, whether both can hold at all.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_keywords.h"

namespace deltaserve::grammar {

// Returns a schema that is valid where both are. Neither may have $ref or allOf; annotations and
// definitions are left out. INVALID_ARGUMENT names the keywords that cannot be merged.
absl::StatusOr<boost::json::object> merge_schemas(const boost::json::object& a,
                                                  const boost::json::object& b);

// Returns the names that `type` has for these types.
boost::json::array type_names(Types types);

// Returns the values that `enum` and `const` permit; nullopt without them.
std::optional<boost::json::array> values_of(const boost::json::object& schema);

// Returns true if no document generated from one of them can be valid under the other, as far as
// type, enum, const and a required property with different enum or const can tell. `outer` are the
// types that keywords beside the oneOf permit; null if there are none.
absl::StatusOr<bool> surely_disjoint(const boost::json::value& a, const boost::json::value& b,
                                     std::optional<Types> outer);

}  // namespace deltaserve::grammar
