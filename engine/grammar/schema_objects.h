// Makes expressions for the objects of a schema.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/schema_context.h"

namespace deltaserve::grammar {

// The members that an object may have, in the order of the schema.
struct ObjectMembers {
  struct Named {
    std::string name;
    const boost::json::value* schema;  // null: any value
    std::string place;
    bool required;
    bool is_other;  // `properties` does not name it: its schema is that of the others
  };
  std::vector<Named> named;
  const boost::json::value* others = nullptr;  // the schema of all others; null: there are none
  std::string others_place;
  std::optional<Dfa> others_form;  // of their names; null: any
  MarkCount count;                 // of all members
  bool is_impossible = false;      // no object validates
};

// Reads properties, required, additionalProperties, patternProperties, propertyNames, minProperties
// and maxProperties.
absl::StatusOr<ObjectMembers> object_members(const boost::json::object& schema,
                                             const std::string& name, const SchemaContext& context);

// Says how members are written.
struct MemberSyntax {
  std::function<ExprOr(const std::string& name)> key;
  std::function<ExprOr(const ObjectMembers::Named& member)> value;  // all after the key
  std::function<ExprOr()> other;  // a whole member with another name
  ExprId separator = 0;
  ExprId space = 0;  // after the last member
  ExprId end = 0;    // comes after `space`, or alone if there are no members; not empty
};

// Returns an expression for the members and the end: each member at most once, the required ones
// always. They come in the order of the schema or, with `any_order`, in any.
ExprOr members_expression(const ObjectMembers& members, const MemberSyntax& syntax, bool any_order,
                          const std::string& name, RuleSet* rules);

// `name` is the place of the schema.
ExprOr object_expression(const boost::json::object& schema, const std::string& name,
                         const SchemaContext& context);

}  // namespace deltaserve::grammar
