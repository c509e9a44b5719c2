#include "engine/grammar/python_values.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/string.hpp>

#include "engine/grammar/regex_parser.h"
#include "engine/grammar/rule_nfa.h"
#include "engine/grammar/schema_arrays.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_strings.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// Halves of surrogate pairs must come in pairs.
constexpr std::string_view kStringForm =
    R"('([^'\\\x00-\x1f]|\\['"\\/bfnrt]|\\x[0-9a-fA-F]{2}|)"
    R"(\\u([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})|)"
    R"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*')";
constexpr std::string_view kKeyForm = R"([^'"\\\x00-\x1f]+)";

std::string quoted_by_python(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    switch (c) {
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\'':
      case '\\': out.append({'\\', c}); break;
      default: out.push_back(c);
    }
  }
  return out + "'";
}

// Returns a scalar as Python writes it.
std::string in_python(const json::value& value) {
  if (value.is_null()) return "None";
  if (value.is_bool()) return value.get_bool() ? "True" : "False";
  if (value.is_string())
    return quoted_by_python({value.get_string().data(), value.get_string().size()});
  return spelled(value);
}

bool has_only(const json::object& schema, std::initializer_list<const char*> names) {
  return constraints_of(schema, names).empty();
}

}  // namespace

ExprOr PythonValues::value(const json::value* schema, const std::string& place) {
  static const json::value kAny = json::object();
  absl::StatusOr<const json::value*> resolved =
      context_.resolver->resolve(schema == nullptr ? kAny : *schema);
  // Compiling the JSON says what is wrong with the schema, or is lenient.
  if (!resolved.ok()) return rules_.call(context_.rule_for(*schema, place));
  const auto [known, is_new] = known_.try_emplace(*resolved, RuleId{});
  if (!is_new) return rules_.call(known->second);
  const RuleId rule = known->second = rules_.add_rule(place_under(place, "python"));
  rules_.rule(rule).separate = true;
  std::vector<ExprId> choices{rules_.call(schema == nullptr ? context_.json->any_value()
                                                            : context_.rule_for(*schema, place))};
  const bool is_true = **resolved == json::value(true);
  const json::object* object = (is_true ? kAny : **resolved).if_object();
  if (object != nullptr) {
    absl::Status status = add_choices(*object, place, &choices);
    if (!status.ok()) return status;
  }
  rules_.rule(rule).body = rules_.alternate(choices);
  return rules_.call(rule);
}

absl::Status PythonValues::add_choices(const json::object& schema, const std::string& place,
                                       std::vector<ExprId>* choices) {
  if (schema.contains("anyOf")) return add_branches(schema, place, choices);
  absl::StatusOr<Types> types = generated_types(schema);
  if (!types.ok()) return absl::OkStatus();
  const json::value* constant = find(schema, "const");
  const json::value* values = find(schema, "enum");
  if (constant != nullptr || values != nullptr) {
    const char* const keyword = constant != nullptr ? "const" : "enum";
    if (!has_only(schema, {"type", "nullable", keyword})) return absl::OkStatus();
    json::array all;
    if (constant != nullptr) {
      all.push_back(*constant);
    } else if (values->is_array()) {
      all = values->get_array();
    }
    for (const json::value& value : all) {
      const bool is_scalar = !value.is_object() && !value.is_array() && !value.is_number();
      if (is_scalar && (type_of(value) & *types))
        choices->push_back(rules_.literal(in_python(value)));
    }
    return absl::OkStatus();
  }
  for (const char* logic : {"allOf", "oneOf", "not", "if"}) {
    if (schema.contains(logic)) return absl::OkStatus();
  }
  if (*types & kBoolean) {
    choices->push_back(rules_.literal("True"));
    choices->push_back(rules_.literal("False"));
  }
  if (*types & kNull) choices->push_back(rules_.literal("None"));
  if (*types & kString) {
    absl::StatusOr<StringContent> content = string_content(schema, context_);
    const bool is_any =
        content.ok() && !content->form && content->min == 0 && content->max == kUnlimited;
    if (is_any) choices->push_back(string());
  }
  if (*types & kArray) {
    absl::Status status = add_list(schema, place, choices);
    if (!status.ok()) return status;
  }
  return *types & kObject ? add_dictionary(schema, place, choices) : absl::OkStatus();
}

absl::Status PythonValues::add_branches(const json::object& schema, const std::string& place,
                                        std::vector<ExprId>* choices) {
  const json::value& branches = schema.at("anyOf");
  if (!branches.is_array()) return absl::OkStatus();
  const json::object siblings = constraints_of(schema, {"anyOf"});
  for (const json::value& branch : branches.get_array()) {
    absl::StatusOr<const json::value*> both = context_.resolver->both(siblings, branch);
    if (!both.ok()) return absl::OkStatus();
    ExprOr one = value(*both, place);
    if (!one.ok()) return one.status();
    choices->push_back(*one);
  }
  return absl::OkStatus();
}

absl::Status PythonValues::add_list(const json::object& schema, const std::string& place,
                                    std::vector<ExprId>* choices) {
  for (const char* other : {"minItems", "maxItems", "uniqueItems", "contains", "prefixItems",
                            "unevaluatedItems", "additionalItems"}) {
    if (schema.contains(other)) return absl::OkStatus();
  }
  const json::value* items = find(schema, "items");
  if (items != nullptr && items->is_array()) return absl::OkStatus();
  ExprOr one = value(items, place_under(place, "items"));
  if (!one.ok()) return one.status();
  const ExprId more = rules_.repeat(joined({rules_.literal(", "), *one}), 0, kUnlimited);
  choices->push_back(
      joined({rules_.literal("["), rules_.optional(joined({*one, more})), rules_.literal("]")}));
  return absl::OkStatus();
}

absl::Status PythonValues::add_dictionary(const json::object& schema, const std::string& place,
                                          std::vector<ExprId>* choices) {
  for (const char* other : {"unevaluatedProperties", "dependentSchemas", "dependentRequired",
                            "dependencies", "patternProperties"}) {
    if (schema.contains(other)) return absl::OkStatus();
  }
  absl::StatusOr<ObjectMembers> members = object_members(schema, place, context_);
  if (!members.ok() || members->is_impossible) return absl::OkStatus();
  MemberSyntax syntax;
  syntax.key = [&](const std::string& name) -> ExprOr {
    return joined(
        {any_of({rules_.literal(quoted_by_python(name)), rules_.literal(json_quoted(name))}),
         rules_.literal(": ")});
  };
  syntax.value = [&](const ObjectMembers::Named& member) {
    return value(member.schema, member.place);
  };
  syntax.other = [&] { return other_member(*members); };
  syntax.separator = rules_.literal(", ");
  syntax.space = rules_.literal("");
  syntax.end = rules_.literal("}");
  ExprOr all = members_expression(*members, syntax, /*any_order=*/true,
                                  place_under(place, "dictionary"), &rules_);
  if (!all.ok()) return all.status();
  choices->push_back(joined({rules_.literal("{"), *all}));
  return absl::OkStatus();
}

ExprOr PythonValues::other_member(const ObjectMembers& members) {
  std::vector<std::string> names;
  for (const ObjectMembers::Named& named : members.named) names.push_back(named.name);
  AutomatonBudget* budget = rules_.budget();
  absl::StatusOr<Dfa> keys = regex_dfa(kKeyForm, budget);
  if (keys.ok() && !names.empty()) {
    RuleSet taken;
    std::vector<ExprId> literals;
    for (const std::string& name : names) literals.push_back(taken.literal(name));
    const RuleId rule = taken.add_rule("names");
    taken.rule(rule).body = taken.alternate(literals);
    absl::StatusOr<Dfa> taken_names = rule_dfa(taken, rule, budget);
    if (!taken_names.ok()) return taken_names.status();
    keys = subtract(*keys, *taken_names, budget);
  }
  if (keys.ok() && members.others_form) keys = intersect(*keys, *members.others_form, budget);
  if (!keys.ok()) return keys.status();
  const RuleId key = rules_.add_rule("key");
  rules_.rule(key).separate = true;
  rules_.rule(key).unique_key = true;
  rules_.rule(key).body = rules_.dfa(minimize(*keys, budget));
  const ExprId single = joined({rules_.literal("'"), rules_.call(key), rules_.literal("': ")});
  const ExprId both = joined({rules_.literal("\""), rules_.call(key), rules_.literal("\": ")});
  ExprOr written = value(members.others, members.others_place);
  if (!written.ok()) return written;
  return joined({any_of({single, both}), *written});
}

ExprId PythonValues::string() {
  if (!string_) {
    string_ = rules_.add_rule("python string");
    rules_.rule(*string_).separate = true;
    absl::StatusOr<Dfa> form = regex_dfa(kStringForm, rules_.budget());
    if (!form.ok()) return any_of({});
    rules_.rule(*string_).body = rules_.dfa(*std::move(form));
  }
  return rules_.call(*string_);
}

}  // namespace deltaserve::grammar
