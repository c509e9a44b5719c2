#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/grammar/argument_rules.h"
#include "engine/grammar/json_rules.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/schema_arrays.h"
#include "engine/grammar/schema_branches.h"
#include "engine/grammar/schema_context.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_negation.h"
#include "engine/grammar/schema_objects.h"
#include "engine/grammar/schema_resolver.h"
#include "engine/grammar/schema_strings.h"
#include "engine/grammar/schema_unevaluated.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// Turns each place in the schema into a rule. Places wait in a queue, so that deep schemas need no
// deep stack.
class SchemaCompiler {
 public:
  SchemaCompiler(const json::value& root, const SchemaOptions& options, RuleSet* rules)
      : root_(root),
        resolver_(root),
        rules_(rules),
        json_(rules, options.space),
        context_{&resolver_,
                 rules,
                 &json_,
                 options,
                 [this](const json::value& schema, const std::string& name) {
                   return rule_for(schema, name);
                 },
                 0} {}

  absl::StatusOr<RuleId> compile() {
    const RuleId root = rule_for(root_, "#");
    if (absl::Status status = compile_places(); !status.ok()) return status;
    return root;
  }

  ExprOr compile_arguments(const ArgumentSyntax& syntax) {
    ExprOr arguments = arguments_expression(root_, syntax, context_);
    if (!arguments.ok()) return prefixed("#", arguments.status());
    if (absl::Status status = compile_places(); !status.ok()) return status;
    return arguments;
  }

 private:
  absl::Status compile_places() {
    for (size_t i = 0; i < queue_.size(); ++i) {
      const Place place = queue_[i];
      ExprOr body = body_of(*place.schema, place.name);
      if (!body.ok() && context_.options.lenient) body = any_of_types(*place.schema);
      if (!body.ok()) return prefixed(place.name, body.status());
      if (absl::Status status = rules_->status(); !status.ok()) return status;
      rules_->rule(place.rule).body = *body;
    }
    return absl::OkStatus();
  }

  struct Place {
    const json::value* schema;
    std::string name;
    RuleId rule;
  };

  RuleId rule_for(const json::value& schema, const std::string& name) {
    const auto [position, added] = rule_of_.try_emplace(&schema, 0);
    if (added) {
      position->second = rules_->add_rule(name);
      queue_.push_back({&schema, name, position->second});
    }
    return position->second;
  }

  ExprId call(const json::value& schema, const std::string& name) {
    return rules_->call(rule_for(schema, name));
  }

  ExprOr body_of(const json::value& schema, const std::string& name) {
    absl::StatusOr<const json::value*> resolved = resolver_.resolve(schema);
    if (!resolved.ok()) return resolved.status();
    if (*resolved != &schema) return call(**resolved, name);
    if (schema.is_bool()) {
      return schema.get_bool() ? rules_->call(json_.any_value()) : rules_->alternate({});
    }
    if (!is_json_object(schema)) {
      return invalid_argument("a schema must be an object, true or false");
    }
    const json::object* object = schema.if_object();
    if (object->contains("if")) return conditional(*object, name);
    if (object->contains("not")) {
      absl::StatusOr<std::optional<ExprId>> negated = negation(*object, name);
      if (!negated.ok()) return negated.status();
      if (*negated) return **negated;
    }
    absl::StatusOr<std::optional<SchemaBranches>> said = keyword_branches(*object);
    if (!said.ok()) return said.status();
    if (*said) {
      return any_branch((*said)->rest, (*said)->branches, place_under(name, (*said)->keyword));
    }
    if (object->contains("anyOf")) return any_of(*object, "anyOf", name);
    if (object->contains("oneOf")) return any_of(*object, "oneOf", name);
    if (object->contains("enum") || object->contains("const")) return values(*object);
    return typed(*object, name);
  }

  // Returns the alternative of the branches, each with the rest of the schema. `made` says that the
  // branches are not parts of the schema.
  ExprOr any_branch(const json::object& rest, const json::array& branches, const std::string& name,
                    bool made = true) {
    std::vector<ExprId> choices;
    for (size_t i = 0; i < branches.size(); ++i) {
      const json::value* branch = &branches[i];
      if (made || !rest.empty()) {
        absl::StatusOr<const json::value*> merged = resolver_.both(rest, *branch);
        if (!merged.ok()) return merged.status();
        branch = *merged;
      }
      choices.push_back(call(*branch, place_under(name, std::to_string(i))));
    }
    return rules_->alternate(choices);
  }

  ExprOr any_of(const json::object& schema, const char* keyword, const std::string& name) {
    const json::array* branches = find(schema, keyword)->if_array();
    if (branches == nullptr || branches->empty()) {
      return invalid_argument(quoted(keyword), " must be a list of schemas");
    }
    json::object siblings = constraints_of(schema, {keyword});
    if (std::string_view(keyword) == "oneOf") {
      require_discriminator(schema, &siblings);
      if (absl::Status status = check_disjoint(*branches, siblings); !status.ok()) return status;
    }
    return any_branch(siblings, *branches, place_under(name, keyword), /*made=*/false);
  }

  // OpenAPI requires the property of a discriminator, even if `required` does not name it.
  static void require_discriminator(const json::object& schema, json::object* siblings) {
    const json::value* discriminator = find(schema, "discriminator");
    if (discriminator == nullptr || !discriminator->is_object()) return;
    const json::value* name = find(discriminator->get_object(), "propertyName");
    if (name == nullptr || !name->is_string()) return;
    json::array required;
    if (const json::value* given = find(*siblings, "required"); given && given->is_array()) {
      required = given->get_array();
    }
    required.push_back(*name);
    (*siblings)["required"] = std::move(required);
    if (!siblings->contains("type")) (*siblings)["type"] = "object";
  }

  // A schema with `if` means `if` and `then`, or the contrary of `if` and `else`.
  ExprOr conditional(const json::object& schema, const std::string& name) {
    if (absl::Status status = check_unevaluated(schema, "if"); !status.ok()) return status;
    json::object rest = constraints_of(schema, {"if", "then", "else"});
    const json::value& condition = *find(schema, "if");
    const json::value* then = find(schema, "then");
    const json::value* otherwise = find(schema, "else");
    if (then == nullptr && otherwise == nullptr) {
      json::array all;
      all.push_back(true);
      return any_branch(rest, all, name);
    }
    const auto with = [](const json::value& part, const json::value* more) {
      json::array parts;
      parts.push_back(part);
      if (more != nullptr) parts.push_back(*more);
      return json::object{{"allOf", std::move(parts)}};
    };
    absl::StatusOr<json::array> others = contraries(condition, &resolver_);
    if (!others.ok()) return prefixed("if", others.status());
    json::array branches;
    branches.push_back(with(condition, then));
    for (const json::value& other : *others) branches.push_back(with(other, otherwise));
    return any_branch(rest, branches, place_under(name, "if"));
  }

  // Returns nullopt if the negation is plain: then it stays a part of the schema.
  absl::StatusOr<std::optional<ExprId>> negation(const json::object& schema,
                                                 const std::string& name) {
    absl::StatusOr<Types> types = declared_types(schema);
    if (!types.ok()) return types.status();
    const bool strings = *types == kString;
    const json::value& negated = *find(schema, "not");
    if (is_plain_negation(negated, strings)) return std::nullopt;
    if (absl::Status status = check_unevaluated(schema, "not"); !status.ok()) return status;
    json::object rest = constraints_of(schema, {"not"});
    absl::StatusOr<const json::value*> place = resolver_.resolve(negated);
    if (!place.ok()) return prefixed("not", place.status());
    const json::object* object = (*place)->if_object();
    const json::value* branches = object == nullptr ? nullptr : find(*object, "anyOf");
    json::value complex = **place;
    if (branches != nullptr && object->size() == 1 && branches->is_array()) {
      // The contrary of one branch is told now, the other branches stay.
      json::array others;
      for (const json::value& branch : branches->get_array()) others.push_back(branch);
      const auto first = std::find_if(others.begin(), others.end(), [&](const json::value& branch) {
        return !is_plain_negation(branch, strings);
      });
      if (first == others.end()) return std::nullopt;
      complex = *first;
      others.erase(first);
      rest["not"] = json::object{{"anyOf", others}};
      if (others.size() == 1) rest["not"] = json::value(others[0]);
      if (others.empty()) rest.erase("not");
    }
    absl::StatusOr<json::array> alternatives = contraries(complex, &resolver_);
    if (!alternatives.ok()) return prefixed("not", alternatives.status());
    ExprOr any = any_branch(rest, *alternatives, place_under(name, "not"));
    if (!any.ok()) return any.status();
    return std::optional<ExprId>(*any);
  }

  // Returns all values of the types that a schema names, without its other keywords.
  ExprOr any_of_types(const json::value& schema) {
    absl::StatusOr<Types> types = kAllTypes;
    if (const json::object* object = schema.if_object()) types = declared_types(*object);
    if (!types.ok() || *types == kAllTypes) return rules_->call(json_.any_value());
    json::object plain;
    plain["type"] = type_names(*types);
    return typed(plain, "#");
  }

  absl::Status check_disjoint(const json::array& branches, const json::object& siblings) {
    if (branches.size() > grammar_limits::kOneOfBranches) {
      return invalid_argument("'oneOf' has more than ", grammar_limits::kOneOfBranches,
                              " branches");
    }
    std::optional<Types> outer;
    if (!siblings.empty()) {
      absl::StatusOr<Types> types = declared_types(siblings);
      if (!types.ok()) return types.status();
      outer = *types;
    }
    std::vector<const json::value*> resolved;
    const json::value* required = find(siblings, "required");
    for (const json::value& branch : branches) {
      absl::StatusOr<const json::value*> whole = &branch;
      if (required != nullptr) whole = resolver_.both({{"required", *required}}, branch);
      if (!whole.ok()) return whole.status();
      absl::StatusOr<const json::value*> place = resolver_.resolve(**whole);
      if (!place.ok()) return place.status();
      resolved.push_back(*place);
    }
    for (size_t i = 0; i < resolved.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        absl::StatusOr<bool> disjoint = surely_disjoint(*resolved[i], *resolved[j], outer);
        if (!disjoint.ok()) return disjoint.status();
        if (*disjoint) continue;
        return invalid_argument("'oneOf': branches ", j, " and ", i,
                                " cannot be told apart by type, enum, const or a required property "
                                "with enum or const; anyOf accepts both");
      }
    }
    return absl::OkStatus();
  }

  ExprOr values(const json::object& schema) {
    const json::value* list = find(schema, "enum");
    if (list != nullptr && !list->is_array()) return invalid_argument("'enum' must be a list");
    for (const auto& member : schema) {
      const std::string_view name(member.key().data(), member.key().size());
      const Keyword kind = keyword_of(name);
      if (kind < Keyword::kCombine || name == "not") continue;
      return invalid_argument("enum and const cannot be combined with ", quoted(name));
    }
    absl::StatusOr<Types> types = declared_types(schema);
    if (!types.ok()) return types.status();
    std::vector<ExprId> choices;
    const json::array values = values_of(schema).value_or(json::array());
    for (const json::value& value : values) {
      if ((type_of(value) & *types) == 0) continue;
      absl::StatusOr<bool> excluded = is_excluded(value, schema);
      if (!excluded.ok()) return excluded.status();
      if (!*excluded) choices.push_back(rules_->literal(spelled(value)));
    }
    return rules_->alternate(choices);
  }

  // Returns true if `not` of a schema excludes a value.
  static absl::StatusOr<bool> is_excluded(const json::value& value, const json::object& schema) {
    const json::value* negated = find(schema, "not");
    if (negated == nullptr) return false;
    if (!is_plain_negation(*negated, false)) {
      return invalid_argument("enum and const cannot be combined with this 'not'");
    }
    const json::array excluded = negated_values(*negated);
    return std::any_of(excluded.begin(), excluded.end(),
                       [&](const json::value& other) { return same_json(value, other); });
  }

  ExprOr typed(const json::object& schema, const std::string& name) {
    absl::StatusOr<Types> types = generated_types(schema);
    if (!types.ok()) return types.status();
    const json::value* negated = find(schema, "not");
    const json::array excluded = negated == nullptr ? json::array() : negated_values(*negated);
    const auto without = [&](const json::value& value, ExprId expr) {
      const auto is_same = [&](const json::value& other) { return same_json(value, other); };
      return std::any_of(excluded.begin(), excluded.end(), is_same) ? rules_->alternate({}) : expr;
    };
    std::vector<ExprOr> choices;
    if (*types & kNull) choices.push_back(without(nullptr, json_.null()));
    if (*types & kBoolean) {
      choices.push_back(without(true, rules_->literal("true")));
      choices.push_back(without(false, rules_->literal("false")));
    }
    if (*types & kNumber) choices.push_back(number(schema, *types, excluded));
    if (*types & kString) choices.push_back(string(schema));
    for (const json::value& value : excluded) {
      if ((type_of(value) & *types & (kArray | kObject)) == 0) continue;
      return invalid_argument("'not' of arrays and objects is not supported");
    }
    if (*types & kArray) choices.push_back(array_expression(schema, name, context_));
    if (*types & kObject) choices.push_back(object_expression(schema, name, context_));
    std::vector<ExprId> exprs;
    for (const ExprOr& choice : choices) {
      if (!choice.ok()) return choice.status();
      exprs.push_back(*choice);
    }
    return rules_->alternate(exprs);
  }

  ExprOr number(const json::object& schema, Types types, const json::array& excluded) {
    const json::value* multiple = find(schema, "multipleOf");
    const bool whole =
        (types & kNumber) == kInteger || (multiple != nullptr && number_of(*multiple) == 1.0L);
    std::vector<std::string> texts;
    for (const json::value& value : excluded) {
      if (!is_exact_number(value)) continue;
      if (!whole) return invalid_argument("'not' of numbers is supported for integers only");
      texts.push_back(spelled(value));
    }
    return shared(whole ? "integer" : "number", schema, Keyword::kOfNumber, texts,
                  [&]() -> ExprOr { return number_expression(schema, whole, texts, context_); });
  }

  // Calls the rule that is shared by all schemas with equal keywords of one kind and `extra`.
  template <class Build>
  ExprOr shared(const char* kind, const json::object& schema, Keyword keywords,
                const std::vector<std::string>& extra, const Build& build) {
    std::string key = kind;
    for (const auto& member : schema) {
      const std::string_view name(member.key().data(), member.key().size());
      if (keyword_of(name) != keywords) continue;
      key += str_cat("\n", name, ":", json::serialize(member.value()));
    }
    for (const std::string& text : extra) key += str_cat("\n", text);
    const auto [position, added] = shared_.try_emplace(std::move(key), 0);
    if (added) {
      ExprOr body = build();
      if (!body.ok()) {
        shared_.erase(position);
        return body;
      }
      position->second = rules_->add_rule(kind);
      rules_->rule(position->second).body = *body;
    }
    return rules_->call(position->second);
  }

  ExprOr string(const json::object& schema) {
    std::vector<std::string> extra;
    bool constrained = false;
    for (const auto& member : schema) {
      const std::string_view name(member.key().data(), member.key().size());
      if (name == "not") extra.push_back(json::serialize(member.value()));
      constrained = constrained || keyword_of(name) == Keyword::kOfString || name == "not";
    }
    if (!constrained) return rules_->call(json_.any_string());
    return shared("string", schema, Keyword::kOfString, extra,
                  [&] { return string_expression(schema, context_); });
  }

  const json::value& root_;
  SchemaResolver resolver_;
  RuleSet* rules_;
  JsonRules json_;
  SchemaContext context_;
  std::unordered_map<const json::value*, RuleId> rule_of_;
  std::unordered_map<std::string, RuleId> shared_;
  std::vector<Place> queue_;
};

}  // namespace

absl::StatusOr<RuleId> add_schema_rules(const json::value& schema, const SchemaOptions& options,
                                        RuleSet* rules) {
  if (absl::Status status = check_schema_size(schema); !status.ok()) return status;
  return SchemaCompiler(schema, options, rules).compile();
}

ExprOr add_argument_rules(const json::value& schema, const ArgumentSyntax& syntax,
                          const SchemaOptions& options, RuleSet* rules) {
  if (absl::Status status = check_schema_size(schema); !status.ok()) return status;
  return SchemaCompiler(schema, options, rules).compile_arguments(syntax);
}

}  // namespace deltaserve::grammar
