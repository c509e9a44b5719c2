#include "engine/grammar/schema_objects.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <utility>

#include "engine/grammar/limits.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_strings.h"
#include "engine/grammar/schema_unevaluated.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// Returns the names that an object must have, in order and once.
absl::StatusOr<std::vector<std::string>> required_names(const json::object& schema) {
  std::vector<std::string> names;
  const json::value* required = find(schema, "required");
  if (required == nullptr) return names;
  if (!required->is_array()) return invalid_argument("'required' must be a list of names");
  for (const json::value& name : required->get_array()) {
    if (!name.is_string()) return invalid_argument("'required' must be a list of names");
    names.emplace_back(name.get_string().data(), name.get_string().size());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

bool accepts(const Dfa& dfa, std::string_view text) {
  uint32_t state = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const std::vector<Dfa::ByteEdge>& edges = dfa.states[state].bytes;
    const auto edge = std::find_if(edges.begin(), edges.end(), [&](const Dfa::ByteEdge& e) {
      return e.first <= byte && byte <= e.last;
    });
    if (edge == edges.end()) return false;
    state = edge->target;
  }
  return dfa.states[state].accepting;
}

// Leaves out the members whose names `propertyNames` does not permit.
absl::Status restrict_names(const json::value& names, const SchemaContext& context,
                            ObjectMembers* members) {
  absl::StatusOr<const json::value*> place = context.resolver->resolve(names);
  if (!place.ok()) return prefixed("propertyNames", place.status());
  const json::object* object = (*place)->if_object();
  const json::value string_type = "string";
  const auto says_nothing = [&](const json::object& schema) {
    const json::object constraints = constraints_of(schema, {"type"});
    const json::value* type = find(schema, "type");
    return constraints.empty() && (type == nullptr || *type == string_type);
  };
  if (**place == json::value(true) || (object != nullptr && says_nothing(*object))) {
    return absl::OkStatus();
  }
  absl::StatusOr<Dfa> form = string_dfa(**place, context);
  if (!form.ok()) return prefixed("propertyNames", form.status());
  std::erase_if(members->named, [&](const ObjectMembers::Named& named) {
    const bool is_permitted = accepts(*form, named.name);
    members->is_impossible = members->is_impossible || (!is_permitted && named.required);
    return !is_permitted;
  });
  if (members->others_form) form = intersect(*members->others_form, *form, context.rules->budget());
  if (!form.ok()) return form.status();
  members->others_form = *std::move(form);
  return absl::OkStatus();
}

// Returns true if a pattern names members that may be there.
bool allows_by_pattern(const json::object& schema) {
  const json::value* patterns = find(schema, "patternProperties");
  if (patterns == nullptr || !patterns->is_object()) return false;
  const json::object& all = patterns->get_object();
  return std::any_of(all.begin(), all.end(),
                     [](const auto& member) { return member.value() != json::value(false); });
}

// Reads `patternProperties`. Named members follow the schemas of the patterns that their names
// match. Of the others, those are generated whose names match none, if additionalProperties lets
// there be any; otherwise those whose names match the first pattern that allows any, and no other.
class PatternProperties {
 public:
  PatternProperties(const SchemaContext& context, ObjectMembers* members)
      : context_(context), members_(*members) {}

  absl::Status apply(const json::value& patterns, const std::string& name) {
    const json::object* object = patterns.if_object();
    if (object == nullptr) return invalid_argument("'patternProperties' must be an object");
    for (const auto& member : *object) {
      absl::StatusOr<Dfa> names = string_dfa(json::object{{"pattern", member.key()}}, context_);
      const std::string key(member.key().data(), member.key().size());
      const std::string place = place_under(name, str_cat("patternProperties/", key));
      if (!names.ok()) return prefixed(place, names.status());
      patterns_.push_back({*std::move(names), &member.value(), place});
    }
    for (ObjectMembers::Named& named : members_.named) {
      if (absl::Status status = restrict_named(&named); !status.ok()) return status;
    }
    return restrict_others();
  }

 private:
  struct Pattern {
    Dfa names;
    const json::value* schema;
    std::string place;
  };

  absl::Status restrict_named(ObjectMembers::Named* named) {
    json::array all;
    for (const Pattern& pattern : patterns_) {
      if (accepts(pattern.names, named->name)) all.push_back(*pattern.schema);
    }
    if (all.empty()) return absl::OkStatus();
    if (named->schema != nullptr && !named->is_other) all.push_back(*named->schema);
    absl::StatusOr<const json::value*> merged =
        context_.resolver->both({}, json::object{{"allOf", std::move(all)}});
    if (!merged.ok()) return merged.status();
    named->schema = *merged;
    return absl::OkStatus();
  }

  absl::Status restrict_others() {
    AutomatonBudget* const budget = context_.rules->budget();
    const json::value nothing = false;
    const Pattern* own = nullptr;
    for (const Pattern& pattern : patterns_) {
      if (own == nullptr && *pattern.schema != nothing) own = &pattern;
    }
    if (members_.others != nullptr) own = nullptr;
    absl::StatusOr<Dfa> names =
        own != nullptr ? own->names : string_dfa(json::object{{"type", "string"}}, context_);
    for (const Pattern& pattern : patterns_) {
      if (names.ok() && &pattern != own) names = subtract(*names, pattern.names, budget);
    }
    if (!names.ok()) return names.status();
    members_.others_form = *std::move(names);
    if (own == nullptr) return absl::OkStatus();
    members_.others = own->schema;
    members_.others_place = own->place;
    return absl::OkStatus();
  }

  const SchemaContext& context_;
  ObjectMembers& members_;
  std::vector<Pattern> patterns_;
};

// Writes members as JSON does.
class JsonMembers {
 public:
  JsonMembers(const ObjectMembers& members, bool any_order, const SchemaContext& context)
      : members_(members), any_order_(any_order), context_(context), json_(*context.json) {}

  ExprOr named(const ObjectMembers::Named& member) const {
    const RuleId value = value_rule(member.schema, member.place);
    // The automaton of the object would otherwise have the states of all its values.
    if (any_order_) context_.rules->rule(value).separate = true;
    return json_.concat({json_.colon(), context_.rules->call(value)});
  }

  ExprOr other() const {
    std::vector<std::string> names;
    for (const ObjectMembers::Named& named : members_.named) names.push_back(named.name);
    const Dfa* form = members_.others_form ? &*members_.others_form : nullptr;
    absl::StatusOr<RuleId> key = json_.new_key(names, form);
    if (!key.ok()) return key.status();
    const RuleId value = value_rule(members_.others, members_.others_place);
    return json_.concat({context_.rules->call(*key), json_.colon(), context_.rules->call(value)});
  }

 private:
  RuleId value_rule(const json::value* schema, const std::string& place) const {
    static const json::value kTrue = true;
    if (schema == nullptr || *schema == kTrue) return json_.any_value();
    return context_.rule_for(*schema, place);
  }

  const ObjectMembers& members_;
  const bool any_order_;
  const SchemaContext& context_;
  JsonRules& json_;
};

}  // namespace

absl::StatusOr<ObjectMembers> object_members(const json::object& schema, const std::string& name,
                                             const SchemaContext& context) {
  static const json::object kNone;
  static const json::value kTrue = true;
  ObjectMembers members;
  const json::object* properties = &kNone;
  const char* others_keyword = nullptr;
  const json::value* additional = other_members(schema, &others_keyword);
  if (const json::value* value = find(schema, "properties")) {
    properties = value->if_object();
    if (properties == nullptr) return invalid_argument("'properties' must be an object");
  } else if (additional == nullptr && !allows_by_pattern(schema)) {
    additional = &kTrue;
  }
  absl::StatusOr<std::vector<std::string>> required = required_names(schema);
  if (!required.ok()) return required.status();
  for (const auto& member : *properties) {
    const std::string key(member.key().data(), member.key().size());
    members.named.push_back({key, &member.value(), place_under(name, str_cat("properties/", key)),
                             std::binary_search(required->begin(), required->end(), key), false});
  }
  members.others_place = place_under(name, others_keyword);
  for (const std::string& missing : *required) {
    if (properties->contains(missing)) continue;
    members.named.push_back({missing, additional, members.others_place, true, true});
  }
  if (additional != nullptr && *additional != json::value(false)) members.others = additional;
  if (const json::value* patterns = find(schema, "patternProperties")) {
    absl::Status status = PatternProperties(context, &members).apply(*patterns, name);
    if (!status.ok()) return status;
  }
  if (const json::value* names = find(schema, "propertyNames")) {
    absl::Status status = restrict_names(*names, context, &members);
    if (!status.ok()) return status;
  }
  absl::StatusOr<std::optional<uint32_t>> min = count_keyword(schema, "minProperties");
  if (!min.ok()) return min.status();
  absl::StatusOr<std::optional<uint32_t>> max = count_keyword(schema, "maxProperties");
  if (!max.ok()) return max.status();
  members.count = {(*min).value_or(0), (*max).value_or(kUnlimited)};
  const size_t fewest = std::max<size_t>(required->size(), members.count.min);
  size_t names = kUnlimited;  // that members may have
  if (members.others == nullptr) {
    names = members.named.size();
  } else if (members.others_form) {
    names = num_texts(*members.others_form, kUnlimited);
  }
  members.is_impossible = members.is_impossible || fewest > members.count.max || fewest > names;
  // Bounds that the names or the required members keep already need no count.
  if (members.count.min <= required->size()) members.count.min = 0;
  if (members.others == nullptr && members.count.max >= members.named.size()) {
    members.count.max = kUnlimited;
  }
  return members;
}

ExprOr members_expression(const ObjectMembers& members, const MemberSyntax& syntax, bool any_order,
                          const std::string& name, RuleSet* rules) {
  const auto joined = [&](std::initializer_list<ExprId> parts) {
    return rules->concat(std::vector<ExprId>(parts));
  };
  // The members are a rule of their own, because what a call of it has read is remembered.
  const RuleId rule = rules->add_rule(name);
  std::vector<ExprId> parts;
  std::vector<bool> optional;
  std::vector<bool> required;
  for (const ObjectMembers::Named& member : members.named) {
    ExprOr key = syntax.key(member.name);
    if (!key.ok()) return key;
    ExprOr value = syntax.value(member);
    if (!value.ok()) return value;
    required.push_back(member.required);
    optional.push_back(!member.required);
    const auto mark = static_cast<uint32_t>(required.size());
    parts.push_back(any_order ? joined({*key, rules->mark(mark), *value}) : joined({*key, *value}));
  }
  if (members.others != nullptr) {
    ExprOr other = syntax.other();
    if (!other.ok()) return other;
    parts.push_back(*other);
    if (!any_order) {
      const ExprId more = rules->repeat(joined({syntax.separator, *other}), 0, kUnlimited);
      parts.back() = joined({*other, more});
    }
    optional.push_back(true);
  }
  ExprId all = 0;
  if (any_order) {
    const ExprId one = rules->alternate(parts);
    const ExprId more = rules->repeat(joined({syntax.separator, one}), 0, kUnlimited);
    all = joined({one, more, syntax.space});
    rules->rule(rule).members = Members{.required = std::move(required), .count = members.count};
  } else {
    all = joined({rules->separated(parts, optional, syntax.separator), syntax.space});
  }
  const bool may_be_empty = std::find(optional.begin(), optional.end(), false) == optional.end();
  rules->rule(rule).separate = any_order || members.others != nullptr;
  const ExprId body = joined({may_be_empty ? rules->optional(all) : all, syntax.end});
  rules->rule(rule).body = body;
  return rules->call(rule);
}

ExprOr object_expression(const json::object& schema, const std::string& name,
                         const SchemaContext& context) {
  absl::StatusOr<ObjectMembers> members = object_members(schema, name, context);
  if (!members.ok()) return members.status();
  if (members->is_impossible) return context.rules->alternate({});
  const bool counts = members->count.min > 0 || members->count.max != kUnlimited;
  const bool has_form = members->others != nullptr && members->others_form;
  const bool any_order = context.options.any_order || counts || has_form;
  RuleSet& rules = *context.rules;
  JsonRules& json = *context.json;
  const JsonMembers in_json(*members, any_order, context);
  MemberSyntax syntax;
  syntax.key = [&](const std::string& key) -> ExprOr { return rules.literal(json_quoted(key)); };
  syntax.value = [&](const ObjectMembers::Named& member) { return in_json.named(member); };
  syntax.other = [&] { return in_json.other(); };
  syntax.separator = json.comma();
  syntax.space = json.space();
  syntax.end = rules.literal("}");
  ExprOr all = members_expression(*members, syntax, any_order, name, &rules);
  if (!all.ok()) return all;
  return json.concat({rules.literal("{"), json.space(), *all});
}

}  // namespace deltaserve::grammar
