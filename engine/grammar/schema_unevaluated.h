// Handles unevaluatedProperties and unevaluatedItems. They apply to the members and items that no
// keyword beside them mentions, and no other schema for the same place: allOf, anyOf, oneOf, a
// reference, a schema that depends on members.
//
// Before a text is generated, the resolver merges these schemas into one (schema_resolver.h), or
// each branch with the rest. Then only keywords beside the two are left, and the two mean the same
// as additionalProperties and `items`. In a part of the schema they apply only to what that part
// mentions, so they are settled before the part is merged.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve::grammar {

// Returns the part of a schema with the two keywords settled. Returns INVALID_ARGUMENT if the part
// applies further schemas, and the members that they mention would be unknown after the merge.
absl::StatusOr<boost::json::object> settle_unevaluated(boost::json::object part);

// Returns INVALID_ARGUMENT if the merged `schema` has one of the two beside `keyword`, whose
// contrary or places would seem to mention members or items that they do not.
absl::Status check_unevaluated(const boost::json::object& schema, const char* keyword);

// Return the schema of the other members, of the other items of a merged schema; null: none is
// given. `keyword` is the one that gives it.
const boost::json::value* other_members(const boost::json::object& schema, const char** keyword);
const boost::json::value* other_items(const boost::json::object& schema, const char** keyword);

}  // namespace deltaserve::grammar
