// Arguments of calls, each with its key, by the schema of an object.
#pragma once
#include <boost/json/value.hpp>

#include "engine/grammar/argument_syntax.h"
#include "engine/grammar/schema_context.h"

namespace deltaserve::grammar {

// Returns the arguments and the end. Booleans and null may also be spelled True, False and None.
ExprOr arguments_expression(const boost::json::value& schema, const ArgumentSyntax& syntax,
                            const SchemaContext& context);

}  // namespace deltaserve::grammar
