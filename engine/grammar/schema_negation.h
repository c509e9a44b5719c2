// The contrary of a schema holds where the schema does not: for `not` and `if`.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_resolver.h"

namespace deltaserve::grammar {

// Returns alternative schemas that hold only for documents for which `schema` does not; none if
// there are no such documents. INVALID_ARGUMENT names a keyword whose contrary cannot be said.
absl::StatusOr<boost::json::array> contraries(const boost::json::value& schema,
                                              SchemaResolver* resolver);

// Returns true if `negated`, the value of a `not`, is plain: values, or a condition on strings if
// `strings` says that no other types are possible, or an anyOf of these. A plain one stays in its
// schema.
bool is_plain_negation(const boost::json::value& negated, bool strings);

// Returns the values that a plain negation excludes.
boost::json::array negated_values(const boost::json::value& negated);

}  // namespace deltaserve::grammar
