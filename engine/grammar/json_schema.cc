#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <charconv>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/grammar/json_rules.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/number_range.h"
#include "engine/grammar/regex_parser.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_resolver.h"
#include "engine/grammar/string_formats.h"
#include "models/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

using ExprOr = absl::StatusOr<ExprId>;

// Returns a value of enum or const as it is generated.
std::string spelled(const json::value& value) {
  const double* real = value.if_double();
  if (real == nullptr) return json::serialize(value);
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof digits, *real).ptr);
}

// Turns each place in the schema into a rule. Places wait in a queue, so that depth costs no stack.
class SchemaCompiler {
 public:
  SchemaCompiler(const json::value& root, RuleSet* rules)
      : root_(root), resolver_(root), rules_(rules), json_(rules) {}

  absl::StatusOr<RuleId> compile() {
    const RuleId root = rule_for(root_, "#");
    for (size_t i = 0; i < queue_.size(); ++i) {
      const Place place = queue_[i];
      ExprOr body = body_of(*place.schema, place.name);
      if (!body.ok()) return prefixed(place.name, body.status());
      if (absl::Status status = rules_->status(); !status.ok()) return status;
      rules_->rule(place.rule).body = *body;
    }
    return root;
  }

 private:
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

  // Returns the name of a place under `name`, shortened when it would grow without end.
  static std::string under(const std::string& name, std::string_view step) {
    constexpr size_t kShown = 200;
    if (name.size() > kShown) return name;
    return str_cat(name, "/", step.substr(0, kShown));
  }

  ExprOr body_of(const json::value& schema, const std::string& name) {
    absl::StatusOr<const json::value*> resolved = resolver_.resolve(schema);
    if (!resolved.ok()) return resolved.status();
    if (*resolved != &schema) return call(**resolved, name);
    if (schema.is_bool()) {
      return schema.get_bool() ? rules_->call(json_.any_value()) : rules_->alternate({});
    }
    const json::object* object = schema.if_object();
    if (object == nullptr) return invalid_argument("a schema must be an object, true or false");
    if (object->contains("anyOf")) return any_of(*object, "anyOf", name);
    if (object->contains("oneOf")) return any_of(*object, "oneOf", name);
    if (object->contains("enum") || object->contains("const")) return values(*object);
    return typed(*object, name);
  }

  ExprOr any_of(const json::object& schema, const char* keyword, const std::string& name) {
    const json::array* branches = find(schema, keyword)->if_array();
    if (branches == nullptr || branches->empty()) {
      return invalid_argument(quoted(keyword), " must be a list of schemas");
    }
    const json::object siblings = constraints_of(schema, {keyword});
    if (std::string_view(keyword) == "oneOf") {
      if (absl::Status status = check_disjoint(*branches, siblings); !status.ok()) return status;
    }
    std::vector<ExprId> choices;
    for (size_t i = 0; i < branches->size(); ++i) {
      const json::value* branch = &(*branches)[i];
      if (!siblings.empty()) {
        absl::StatusOr<const json::value*> merged = resolver_.both(siblings, *branch);
        if (!merged.ok()) return merged.status();
        branch = *merged;
      }
      choices.push_back(call(*branch, under(name, str_cat(keyword, "/", i))));
    }
    return rules_->alternate(choices);
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
    for (const json::value& branch : branches) {
      absl::StatusOr<const json::value*> place = resolver_.resolve(branch);
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
      const Keyword kind = keyword_of(name).value_or(Keyword::kAnnotation);
      if (kind < Keyword::kCombine) continue;
      return invalid_argument("enum and const cannot be combined with ", quoted(name));
    }
    absl::StatusOr<Types> types = declared_types(schema);
    if (!types.ok()) return types.status();
    std::vector<ExprId> choices;
    const json::array values = values_of(schema).value_or(json::array());
    for (const json::value& value : values) {
      if ((type_of(value) & *types) != 0) choices.push_back(rules_->literal(spelled(value)));
    }
    return rules_->alternate(choices);
  }

  ExprOr typed(const json::object& schema, const std::string& name) {
    absl::StatusOr<Types> types = generated_types(schema);
    if (!types.ok()) return types.status();
    std::vector<ExprOr> choices;
    if (*types & kNull) choices.push_back(json_.null());
    if (*types & kBoolean) choices.push_back(json_.boolean());
    if (*types & kNumber) choices.push_back(number(schema, *types));
    if (*types & kString) choices.push_back(string(schema));
    if (*types & kArray) choices.push_back(array(schema, name));
    if (*types & kObject) choices.push_back(object(schema, name));
    std::vector<ExprId> exprs;
    for (const ExprOr& choice : choices) {
      if (!choice.ok()) return choice.status();
      exprs.push_back(*choice);
    }
    return rules_->alternate(exprs);
  }

  ExprOr number(const json::object& schema, Types types) {
    absl::StatusOr<NumberBounds> bounds = number_bounds(schema);
    if (!bounds.ok()) return bounds.status();
    const bool whole = (types & kNumber) == kInteger || schema.contains("multipleOf");
    if (!bounds->min && !bounds->max) return whole ? json_.integer() : json_.number();
    return shared(whole ? "integer" : "number", schema, Keyword::kOfNumber, [&]() -> ExprOr {
      absl::StatusOr<Dfa> dfa = whole ? integers_between(*bounds, rules_->budget())
                                      : numbers_between(*bounds, rules_->budget());
      if (!dfa.ok()) return dfa.status();
      return rules_->dfa(*std::move(dfa));
    });
  }

  static absl::StatusOr<NumberBounds> number_bounds(const json::object& schema) {
    NumberBounds bounds;
    const auto read = [&](const char* keyword, bool exclusive,
                          std::optional<NumberBounds::Bound>* bound) {
      const json::value* value = find(schema, keyword);
      if (value == nullptr) return absl::OkStatus();
      if (!value->is_number()) return invalid_argument(quoted(keyword), " must be a number");
      if (*bound) return invalid_argument(quoted(keyword), " beside the other bound of its side");
      *bound = NumberBounds::Bound{*value, exclusive};
      return absl::OkStatus();
    };
    for (const absl::Status& status :
         {read("minimum", false, &bounds.min), read("exclusiveMinimum", true, &bounds.min),
          read("maximum", false, &bounds.max), read("exclusiveMaximum", true, &bounds.max)}) {
      if (!status.ok()) return status;
    }
    return bounds;
  }

  // Calls the rule that is shared by all schemas with equal keywords of one kind.
  template <class Build>
  ExprOr shared(const char* kind, const json::object& schema, Keyword keywords,
                const Build& build) {
    std::string key = kind;
    for (const auto& member : schema) {
      const std::string_view name(member.key().data(), member.key().size());
      if (keyword_of(name) != keywords) continue;
      key += str_cat("\n", name, ":", json::serialize(member.value()));
    }
    const auto [position, added] = shared_.try_emplace(std::move(key), 0);
    if (added) {
      ExprOr body = build();
      if (!body.ok()) return body;
      position->second = rules_->add_rule(kind);
      rules_->rule(position->second).body = *body;
    }
    return rules_->call(position->second);
  }

  ExprOr string(const json::object& schema) {
    bool constrained = false;
    for (const auto& member : schema) {
      const std::string_view name(member.key().data(), member.key().size());
      constrained = constrained || keyword_of(name) == Keyword::kOfString;
    }
    if (!constrained) return rules_->call(json_.any_string());
    return shared("string", schema, Keyword::kOfString, [&] { return constrained_string(schema); });
  }

  ExprOr constrained_string(const json::object& schema) {
    absl::StatusOr<std::optional<uint32_t>> min = count_keyword(schema, "minLength");
    if (!min.ok()) return min.status();
    absl::StatusOr<std::optional<uint32_t>> max = count_keyword(schema, "maxLength");
    if (!max.ok()) return max.status();
    std::vector<Dfa> contents;
    for (const char* keyword : {"pattern", "format"}) {
      const json::value* value = find(schema, keyword);
      if (value == nullptr) continue;
      const json::string* text = value->if_string();
      if (text == nullptr) return invalid_argument(quoted(keyword), " must be a string");
      const std::string_view source(text->data(), text->size());
      absl::StatusOr<Dfa> dfa = std::string_view(keyword) == "pattern"
                                    ? regex_dfa(source, rules_->budget(), /*search=*/true)
                                    : format_dfa(source, rules_->budget());
      if (!dfa.ok()) return prefixed(keyword, dfa.status());
      contents.push_back(*std::move(dfa));
    }
    const uint32_t shortest = (*min).value_or(0);
    const uint32_t longest = (*max).value_or(kUnlimited);
    if (shortest > longest) return rules_->alternate({});
    if (contents.empty()) return json_.string_of_length(shortest, longest);
    if (*min || *max) {
      const std::string last = *max ? std::to_string(longest) : "";
      absl::StatusOr<Dfa> length =
          regex_dfa(str_cat("[\\s\\S]{", shortest, ",", last, "}"), rules_->budget());
      if (!length.ok()) return length.status();
      contents.push_back(*std::move(length));
    }
    absl::StatusOr<Dfa> content = contents[0];
    for (size_t i = 1; i < contents.size() && content.ok(); ++i) {
      content = intersect(*content, contents[i], rules_->budget());
    }
    if (!content.ok()) return content.status();
    return json_.string_of(*content);
  }

  ExprOr array(const json::object& schema, const std::string& name) {
    absl::StatusOr<std::optional<uint32_t>> min = count_keyword(schema, "minItems");
    if (!min.ok()) return min.status();
    absl::StatusOr<std::optional<uint32_t>> max = count_keyword(schema, "maxItems");
    if (!max.ok()) return max.status();
    const uint32_t fewest = (*min).value_or(0);
    const uint32_t most = (*max).value_or(kUnlimited);
    if (fewest > most) return rules_->alternate({});
    static const json::array kNone;
    const json::array* prefix = &kNone;
    if (const json::value* items = find(schema, "prefixItems")) {
      prefix = items->if_array();
      if (prefix == nullptr) return invalid_argument("'prefixItems' must be a list of schemas");
    }
    const json::value* items = find(schema, "items");
    if (items != nullptr && items->is_array()) {
      return invalid_argument("'items' must be a schema; a list of them is 'prefixItems'");
    }
    const auto item = [&](size_t i) {
      if (i < prefix->size()) return call((*prefix)[i], under(name, str_cat("prefixItems/", i)));
      if (items != nullptr) return call(*items, under(name, "items"));
      return rules_->call(json_.any_value());
    };
    // Items are built from the last to the first: item i is followed by the items after it.
    const auto fixed = static_cast<uint32_t>(std::min<size_t>(prefix->size(), most));
    const auto left = [&](uint32_t count) { return count > fixed ? count - fixed : 0; };
    const bool open = most > fixed;
    ExprId rest = rules_->literal("");
    if (open && fixed > 0) {
      const uint32_t longest = most == kUnlimited ? kUnlimited : most - fixed;
      rest = rules_->repeat(json_.concat({json_.comma(), item(fixed)}), left(fewest), longest);
    } else if (open) {
      const uint32_t longest = most == kUnlimited ? kUnlimited : most - 1;
      const uint32_t shortest = fewest == 0 ? 0 : fewest - 1;
      const ExprId first = item(0);
      rest = json_.concat(
          {first, rules_->repeat(json_.concat({json_.comma(), item(0)}), shortest, longest)});
      if (fewest == 0) rest = rules_->optional(rest);
    }
    for (uint32_t i = fixed; i-- > 0;) {
      const ExprId one = i == 0 ? item(i) : json_.concat({json_.comma(), item(i)});
      rest = json_.concat({one, rest});
      if (i >= fewest) rest = rules_->optional(rest);
    }
    return json_.concat({rules_->literal("["), rest, rules_->literal("]")});
  }

  // Returns the names that an object must have.
  static absl::StatusOr<std::vector<std::string>> required_names(const json::object& schema) {
    std::vector<std::string> names;
    const json::value* required = find(schema, "required");
    if (required == nullptr) return names;
    if (!required->is_array()) return invalid_argument("'required' must be a list of names");
    for (const json::value& name : required->get_array()) {
      if (!name.is_string()) return invalid_argument("'required' must be a list of names");
      names.emplace_back(name.get_string().data(), name.get_string().size());
    }
    return names;
  }

  ExprOr object(const json::object& schema, const std::string& name) {
    static const json::object kNone;
    static const json::value kTrue = true;
    const json::object* properties = &kNone;
    const json::value* additional = find(schema, "additionalProperties");
    if (const json::value* value = find(schema, "properties")) {
      properties = value->if_object();
      if (properties == nullptr) return invalid_argument("'properties' must be an object");
    } else if (additional == nullptr) {
      additional = &kTrue;
    }
    absl::StatusOr<std::vector<std::string>> required = required_names(schema);
    if (!required.ok()) return required.status();
    std::sort(required->begin(), required->end());
    required->erase(std::unique(required->begin(), required->end()), required->end());

    const auto value_rule = [&](const json::value& value, std::string_view step) {
      return value == kTrue ? json_.any_value() : rule_for(value, under(name, step));
    };
    std::vector<std::string> names;
    std::vector<ExprId> members;
    std::vector<bool> optional;
    for (const auto& member : *properties) {
      names.emplace_back(member.key().data(), member.key().size());
      const RuleId value = value_rule(member.value(), str_cat("properties/", names.back()));
      members.push_back(json_.concat({json_.named(names.back()), rules_->call(value)}));
      optional.push_back(!std::binary_search(required->begin(), required->end(), names.back()));
    }
    const json::value& other = additional == nullptr ? kTrue : *additional;
    for (const std::string& missing : *required) {
      if (properties->contains(missing)) continue;
      names.push_back(missing);
      const RuleId value = value_rule(other, "additionalProperties");
      members.push_back(json_.concat({json_.named(missing), rules_->call(value)}));
      optional.push_back(false);
    }
    if (additional != nullptr && *additional != json::value(false)) {
      absl::StatusOr<RuleId> key = json_.new_key(names);
      if (!key.ok()) return key.status();
      members.push_back(json_.members(*key, value_rule(other, "additionalProperties")));
      optional.push_back(true);
    }
    // Keys are unique within one call, so the object is a rule of its own.
    const RuleId rule = rules_->add_rule(name);
    rules_->rule(rule).separate = additional != nullptr;
    const ExprId body =
        json_.concat({rules_->literal("{"), rules_->separated(members, optional, json_.comma()),
                      rules_->literal("}")});
    rules_->rule(rule).body = body;
    return rules_->call(rule);
  }

  const json::value& root_;
  SchemaResolver resolver_;
  RuleSet* rules_;
  JsonRules json_;
  std::unordered_map<const json::value*, RuleId> rule_of_;
  std::unordered_map<std::string, RuleId> shared_;
  std::vector<Place> queue_;
};

}  // namespace

absl::StatusOr<RuleId> add_schema_rules(const json::value& schema, RuleSet* rules) {
  if (absl::Status status = check_schema_size(schema); !status.ok()) return status;
  return SchemaCompiler(schema, rules).compile();
}

}  // namespace deltaserve::grammar
