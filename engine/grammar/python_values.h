// Adds the values that a schema permits as Python writes them: strings in single quotes, True,
// False and None, in lists and dictionaries, too.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/grammar/schema_context.h"
#include "engine/grammar/schema_objects.h"

namespace deltaserve::grammar {

// Models that write calls as Python may mix both spellings. A value that a keyword constrains which
// is not read here has the spelling of JSON only.
class PythonValues {
 public:
  // The context must live as long.
  explicit PythonValues(const SchemaContext& context) : context_(context), rules_(*context.rules) {}

  // Returns the values of the schema (null: any) in either spelling. INVALID_ARGUMENT if a
  // reference cannot be resolved.
  ExprOr value(const boost::json::value* schema, const std::string& place);

 private:
  absl::Status add_choices(const boost::json::object& schema, const std::string& place,
                           std::vector<ExprId>* choices);
  absl::Status add_branches(const boost::json::object& schema, const std::string& place,
                            std::vector<ExprId>* choices);
  absl::Status add_list(const boost::json::object& schema, const std::string& place,
                        std::vector<ExprId>* choices);
  absl::Status add_dictionary(const boost::json::object& schema, const std::string& place,
                              std::vector<ExprId>* choices);
  ExprOr other_member(const ObjectMembers& members);
  ExprId string();
  ExprId joined(std::initializer_list<ExprId> parts) {
    return rules_.concat(std::vector<ExprId>(parts));
  }
  ExprId any_of(std::initializer_list<ExprId> choices) {
    return rules_.alternate(std::vector<ExprId>(choices));
  }

  const SchemaContext& context_;
  RuleSet& rules_;
  std::map<const boost::json::value*, RuleId> known_;  // by the schema without its reference
  std::optional<RuleId> string_;
};

}  // namespace deltaserve::grammar
