// Makes expressions for the arrays of a schema.
#pragma once
#include <boost/json/object.hpp>
#include <string>

#include "engine/grammar/schema_context.h"

namespace deltaserve::grammar {

// `name` is the place of the schema.
ExprOr array_expression(const boost::json::object& schema, const std::string& name,
                        const SchemaContext& context);

// Returns a value of enum or const as it is generated.
std::string spelled(const boost::json::value& value);

}  // namespace deltaserve::grammar
