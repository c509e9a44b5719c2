// SchemaContext is shared by the parts of a schema's compilation.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/json_rules.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/schema_resolver.h"
#include "models/base/text.h"

namespace deltaserve::grammar {

using ExprOr = absl::StatusOr<ExprId>;

struct SchemaContext {
  SchemaResolver* resolver;
  RuleSet* rules;
  JsonRules* json;
  SchemaOptions options;
  // Returns the rule of the schema at a place, which will be compiled later.
  std::function<RuleId(const boost::json::value& schema, const std::string& name)> rule_for;
  mutable int string_depth = 0;  // nested schemas that string_dfa() is working on
};

// Returns the name of a place under `name`, shortened when it would grow without end.
inline std::string place_under(const std::string& name, std::string_view step) {
  constexpr size_t kShown = 200;
  if (name.size() > kShown) return name;
  return str_cat(name, "/", step.substr(0, kShown));
}

}  // namespace deltaserve::grammar
