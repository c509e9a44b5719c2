// unevaluatedProperties and unevaluatedItems: what holds for the members and items of which neither
// the keywords beside them speak, nor any schema that is applied to the same place: allOf, anyOf,
// oneOf, a reference, what depends on members.
//
// The resolver merges those schemas into one before a text is generated (schema_resolver.h), or
// each branch of them with the rest. Then only the keywords beside them are left, and the two say
// what additionalProperties and `items` would. A part that has one of them speaks of what itself
// mentions, so that it is settled before the part is merged.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve::grammar {

// Returns the part of a schema with the two keywords settled. INVALID_ARGUMENT: it applies further
// schemas, and what they mention cannot be told once they are merged.
absl::StatusOr<boost::json::object> settle_unevaluated(boost::json::object part);

// Returns INVALID_ARGUMENT if the merged `schema` has one of the two beside `keyword`, by whose
// contrary, or by whose places, it would seem to speak of what it does not.
absl::Status check_unevaluated(const boost::json::object& schema, const char* keyword);

// Return the schema of the other members, of the other items of a merged schema; null: none is
// given. `keyword` is the one that gives it.
const boost::json::value* other_members(const boost::json::object& schema, const char** keyword);
const boost::json::value* other_items(const boost::json::object& schema, const char** keyword);

}  // namespace deltaserve::grammar
