// Makes grammars for the arguments of calls, each with its key, from the schema of an object.
#pragma once
#include <boost/json/value.hpp>

#include "engine/grammar/argument_syntax.h"
#include "engine/grammar/schema_context.h"

namespace deltaserve::grammar {

// Returns an expression for the arguments and the text that ends them. Booleans and null may also
// be spelled True, False and None, and all values as Python does if the syntax says so.
ExprOr arguments_expression(const boost::json::value& schema, const ArgumentSyntax& syntax,
                            const SchemaContext& context);

}  // namespace deltaserve::grammar
