// What holds where a schema does not: for `not` and `if`.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_resolver.h"

namespace deltaserve::grammar {

// Returns schemas none of which holds where `schema` does; without any, there is no such document.
// INVALID_ARGUMENT names a keyword whose contrary cannot be said.
absl::StatusOr<boost::json::array> contraries(const boost::json::value& schema,
                                              SchemaResolver* resolver);

// Returns true if `negated` beside `not` is plain: values, or something of strings where `strings`
// says that there are no other types, or anyOf of such. Plain ones stay in a schema.
bool is_plain_negation(const boost::json::value& negated, bool strings);

// Returns the values that a plain negation excludes.
boost::json::array negated_values(const boost::json::value& negated);

}  // namespace deltaserve::grammar
