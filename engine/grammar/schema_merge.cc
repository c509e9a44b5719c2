#include "engine/grammar/schema_merge.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/grammar/schema_keywords.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

std::string_view name_of(const json::key_value_pair& member) {
  return {member.key().data(), member.key().size()};
}

json::value both(const json::value& a, const json::value& b) {
  if (same_json(a, b) || b == json::value(true)) return a;
  if (a == json::value(true)) return b;
  if (a == json::value(false) || b == json::value(false)) return false;
  json::array parts;
  parts.push_back(a);
  parts.push_back(b);
  json::object merged;
  merged["allOf"] = std::move(parts);
  return merged;
}

uint64_t hash_text(std::string_view text) {
  return std::hash<std::string_view>()(text);
}

uint64_t mix(uint64_t a, uint64_t b) {
  return (a ^ (b + 0x9E3779B97F4A7C15u)) * 0xFF51AFD7ED558CCDu;
}

// Returns a hash that is equal for values that same_json() calls equal.
uint64_t json_hash(const json::value& value) {
  uint64_t hash = 0;
  std::vector<std::pair<const json::value*, uint64_t>> pending{{&value, 1}};  // with their place
  while (!pending.empty()) {
    const auto [next, place] = pending.back();
    pending.pop_back();
    uint64_t own = static_cast<uint64_t>(next->kind());
    if (const std::optional<long double> number = number_of(*next)) {
      own = std::hash<long double>()(*number);
    } else if (const json::string* text = next->if_string()) {
      own = hash_text({text->data(), text->size()});
    } else if (next->is_bool()) {
      own += next->get_bool() ? 100 : 200;
    } else if (const json::array* items = next->if_array()) {
      uint64_t index = 0;
      for (const json::value& item : *items) pending.emplace_back(&item, mix(place, ++index));
    } else if (const json::object* object = next->if_object()) {
      for (const auto& member : *object) {
        pending.emplace_back(&member.value(), mix(place, hash_text(name_of(member))));
      }
    }
    hash += mix(place, own);
  }
  return hash;
}

class ValueSet {
 public:
  explicit ValueSet(const json::array& values) {
    for (const json::value& value : values) values_.emplace(json_hash(value), &value);
  }
  bool contains(const json::value& value) const {
    const auto [begin, end] = values_.equal_range(json_hash(value));
    return std::any_of(begin, end,
                       [&](const auto& entry) { return same_json(*entry.second, value); });
  }

 private:
  std::unordered_multimap<uint64_t, const json::value*> values_;
};

// Returns the values that are in both lists.
json::array shared_values(const json::array& a, const json::array& b) {
  const ValueSet in_b(b);
  json::array shared;
  for (const json::value& value : a) {
    if (in_b.contains(value)) shared.push_back(value);
  }
  return shared;
}

class Merger {
 public:
  Merger(const json::object& a, const json::object& b) : a_(a), b_(b) {}

  absl::StatusOr<json::object> merge() {
    for (const json::object* part : {&a_, &b_}) {
      for (const auto& member : *part) {
        if (absl::Status status = merge_keyword(name_of(member)); !status.ok()) return status;
      }
    }
    return std::move(result_);
  }

 private:
  absl::Status merge_keyword(std::string_view name) {
    const Keyword kind = keyword_of(name);
    if (kind == Keyword::kAnnotation || kind == Keyword::kDefinitions) return absl::OkStatus();
    if (kind == Keyword::kType) return merge_types();
    if (name.starts_with("unevaluated")) {
      // Only the schema into which the parts are merged has it (settle_unevaluated()).
      set(name, *find(a_.contains({name.data(), name.size()}) ? a_ : b_, name));
      return absl::OkStatus();
    }
    if (name.starts_with("depend")) return merge_dependents(name);
    if (name == "contains" || name == "minContains" || name == "maxContains") {
      return merge_group("contains", {"contains", "minContains", "maxContains"});
    }
    if (kind == Keyword::kOfObject) return merge_objects();
    if (name == "items" || name == "prefixItems" || name == "additionalItems") {
      return merge_items();
    }
    const json::value* a = find(a_, name);
    const json::value* b = find(b_, name);
    const std::optional<json::array> values_a = values_of(a_);
    const std::optional<json::array> values_b = values_of(b_);
    if (name == "if" || name == "then" || name == "else")
      return merge_group("if", {"if", "then", "else"});
    if (kind == Keyword::kValues && values_a && values_b) {
      set("enum", shared_values(*values_a, *values_b));
    } else if (a == nullptr || b == nullptr) {
      set(name, a == nullptr ? *b : *a);
    } else if (name.starts_with("min") || name == "exclusiveMinimum") {
      set(name, larger(*a, *b) ? *a : *b);
    } else if (name.starts_with("max") || name == "exclusiveMaximum") {
      set(name, larger(*a, *b) ? *b : *a);
    } else if (same_json(*a, *b)) {
      set(name, *a);
    } else if (name == "uniqueItems") {
      set(name, *a == json::value(true) ? *a : *b);
    } else if (name == "not") {
      json::array either;
      either.push_back(*a);
      either.push_back(*b);
      set(name, json::object{{"anyOf", std::move(either)}});
    } else if (name == "multipleOf" && number_of(*a) == 1.0L) {
      set(name, *b);
    } else if (name == "multipleOf" && number_of(*b) == 1.0L) {
      set(name, *a);
    } else {
      return invalid_argument("keyword ", quoted(name), " cannot be combined with another of it");
    }
    return absl::OkStatus();
  }

  // The schemas of an array's items: by place, and of the others (null: any).
  struct Items {
    const json::array* prefix = nullptr;
    const json::value* rest = nullptr;
    const json::value* at(size_t i) const {
      return prefix != nullptr && i < prefix->size() ? &(*prefix)[i] : rest;
    }
    size_t size() const { return prefix == nullptr ? 0 : prefix->size(); }
  };

  static absl::StatusOr<Items> items_in(const json::object& schema) {
    const json::value* prefix = find(schema, "prefixItems");
    const json::value* rest = find(schema, "items");
    if (prefix == nullptr && rest != nullptr && rest->is_array()) {
      prefix = rest;
      rest = find(schema, "additionalItems");
    }
    if (prefix != nullptr && !prefix->is_array()) {
      return invalid_argument("'prefixItems' must be a list of schemas");
    }
    return Items{prefix == nullptr ? nullptr : prefix->if_array(), rest};
  }

  absl::Status merge_items() {
    absl::StatusOr<Items> a = items_in(a_);
    if (!a.ok()) return a.status();
    absl::StatusOr<Items> b = items_in(b_);
    if (!b.ok()) return b.status();
    const auto merged = [](const json::value* left, const json::value* right) -> json::value {
      if (left == nullptr) return right == nullptr ? json::value(true) : *right;
      return right == nullptr ? *left : both(*left, *right);
    };
    json::array prefix;
    for (size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
      prefix.push_back(merged(a->at(i), b->at(i)));
    }
    if (!prefix.empty()) set("prefixItems", std::move(prefix));
    if (a->rest != nullptr || b->rest != nullptr) set("items", merged(a->rest, b->rest));
    return absl::OkStatus();
  }

  // Keywords that say nothing without the first of them belong together.
  absl::Status merge_group(const char* first, std::initializer_list<const char*> names) {
    if (a_.contains(first) && b_.contains(first)) {
      return invalid_argument("keyword ", quoted(first), " cannot be combined with another of it");
    }
    const json::object& part = a_.contains(first) ? a_ : b_;
    for (const char* name : names) {
      if (const json::value* value = find(part, name)) set(name, *value);
    }
    return absl::OkStatus();
  }

  // Joins what depends on members, by their names. Two demands of one member are both made.
  absl::Status merge_dependents(std::string_view name) {
    json::object all;
    for (const json::object* part : {&a_, &b_}) {
      const json::value* own = find(*part, name);
      if (own == nullptr) continue;
      if (!own->is_object()) return invalid_argument(quoted(name), " must be an object");
      for (const auto& member : own->get_object()) {
        json::value& demand = all[member.key()];
        demand = demand.is_null() ? member.value() : both_demands(demand, member.value());
      }
    }
    set(name, std::move(all));
    return absl::OkStatus();
  }

  static json::value both_demands(const json::value& a, const json::value& b) {
    const auto as_schema = [](const json::value& demand) -> json::value {
      if (!demand.is_array()) return demand;
      return json::object{{"required", demand}};
    };
    if (!a.is_array() || !b.is_array()) return both(as_schema(a), as_schema(b));
    json::array names = a.get_array();
    for (const json::value& name : b.get_array()) names.push_back(name);
    return names;
  }

  // Which names a pattern is for cannot be said once they are mixed with members of another schema
  // that has a say about all others.
  absl::Status check_patterns() const {
    for (const auto& [with, other] : {std::pair{&a_, &b_}, std::pair{&b_, &a_}}) {
      if (!with->contains("patternProperties")) continue;
      const bool narrows =
          other->contains("additionalProperties") || other->contains("patternProperties") ||
          (with->contains("additionalProperties") && other->contains("properties"));
      if (narrows) {
        return invalid_argument(
            "keyword 'patternProperties' cannot be combined with the properties of another schema");
      }
    }
    return absl::OkStatus();
  }

  void set(std::string_view name, json::value value) {
    result_[json::string_view(name.data(), name.size())] = std::move(value);
  }

  // Compares numbers. An invalid value counts as the larger here; reading the result reports it.
  static bool larger(const json::value& a, const json::value& b) {
    const std::optional<long double> left = number_of(a);
    const std::optional<long double> right = number_of(b);
    return !left || (right && *left > *right);
  }

  absl::Status merge_types() {
    absl::StatusOr<Types> a = declared_types(a_);
    if (!a.ok()) return a.status();
    absl::StatusOr<Types> b = declared_types(b_);
    if (!b.ok()) return b.status();
    set("type", type_names(*a & *b));
    return absl::OkStatus();
  }

  // Returns the schema of property `name`; null if there is none.
  static const json::value* property(const json::object& schema, json::string_view name) {
    const json::value* properties = find(schema, "properties");
    if (properties != nullptr && properties->is_object()) {
      const json::value* named = properties->get_object().if_contains(name);
      if (named != nullptr) return named;
    }
    return find(schema, "additionalProperties");
  }

  absl::Status merge_objects() {
    if (absl::Status status = check_patterns(); !status.ok()) return status;
    for (const json::object* part : {&a_, &b_}) {
      if (const json::value* patterns = find(*part, "patternProperties")) {
        set("patternProperties", *patterns);
      }
    }
    json::object properties;
    json::object required;  // a set that keeps its order
    bool has_properties = false;
    bool has_required = false;
    for (const json::object* part : {&a_, &b_}) {
      if (const json::value* own = find(*part, "properties")) {
        if (!own->is_object()) return invalid_argument("'properties' must be an object");
        has_properties = true;
        for (const auto& member : own->get_object()) {
          const json::value* a = property(a_, member.key());
          const json::value* b = property(b_, member.key());
          properties[member.key()] = a == nullptr ? *b : b == nullptr ? *a : both(*a, *b);
        }
      }
      if (const json::value* own = find(*part, "required")) {
        if (!own->is_array()) return invalid_argument("'required' must be a list of names");
        has_required = true;
        for (const json::value& name : own->get_array()) {
          if (!name.is_string()) return invalid_argument("'required' must be a list of names");
          required[name.get_string()] = true;
        }
      }
    }
    if (has_properties) set("properties", std::move(properties));
    if (has_required) {
      json::array names;
      for (const auto& member : required) names.emplace_back(member.key());
      set("required", std::move(names));
    }
    for (const char* name : {"additionalProperties", "propertyNames"}) {
      const json::value* a = find(a_, name);
      const json::value* b = find(b_, name);
      if (a == nullptr && b == nullptr) continue;
      set(name, a == nullptr ? *b : b == nullptr ? *a : both(*a, *b));
    }
    for (const char* name : {"minProperties", "maxProperties"}) {
      const json::value* a = find(a_, name);
      const json::value* b = find(b_, name);
      if (a == nullptr && b == nullptr) continue;
      const bool takes_a = b == nullptr || (a != nullptr && larger(*a, *b) == (name[1] == 'i'));
      set(name, takes_a ? *a : *b);
    }
    return absl::OkStatus();
  }

  const json::object& a_;
  const json::object& b_;
  json::object result_;
};

// Returns true if both require a property whose values have nothing in common.
bool has_discriminator(const json::object& a, const json::object& b) {
  const auto requires_name = [](const json::object& schema, json::string_view name) {
    const json::value* required = find(schema, "required");
    if (required == nullptr || !required->is_array()) return false;
    for (const json::value& item : required->get_array()) {
      if (item.is_string() && item.get_string() == name) return true;
    }
    return false;
  };
  const json::value* properties_a = find(a, "properties");
  const json::value* properties_b = find(b, "properties");
  if (properties_a == nullptr || !properties_a->is_object()) return false;
  if (properties_b == nullptr || !properties_b->is_object()) return false;
  for (const auto& member : properties_a->get_object()) {
    const json::value* other = properties_b->get_object().if_contains(member.key());
    if (other == nullptr || !other->is_object() || !member.value().is_object()) continue;
    if (!requires_name(a, member.key()) || !requires_name(b, member.key())) continue;
    const std::optional<json::array> values_a = values_of(member.value().get_object());
    const std::optional<json::array> values_b = values_of(other->get_object());
    if (!values_a || !values_b) continue;
    if (shared_values(*values_a, *values_b).empty()) return true;
  }
  return false;
}

// The types that documents under `schema` can have, and the types of those generated from it.
struct BranchTypes {
  Types valid = kAllTypes;
  Types generated = kAllTypes;
};

absl::StatusOr<BranchTypes> branch_types(const json::object& schema, std::optional<Types> outer) {
  absl::StatusOr<Types> declared = declared_types(schema);
  if (!declared.ok()) return declared.status();
  absl::StatusOr<Types> spoken = generated_types(schema);
  if (!spoken.ok()) return spoken.status();
  BranchTypes types{*declared, *spoken};
  if (const std::optional<json::array> values = values_of(schema)) {
    Types of_values = 0;
    for (const json::value& value : *values) of_values |= type_of(value);
    types.valid &= of_values;
    types.generated = types.valid;
  }
  for (const char* combination :
       {"$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf"}) {
    if (schema.contains(combination)) types.generated = types.valid;
  }
  if (outer) types.generated = types.valid & *outer;
  return types;
}

}  // namespace

json::array type_names(Types types) {
  json::array names;
  if (types & kNull) names.emplace_back("null");
  if (types & kBoolean) names.emplace_back("boolean");
  if ((types & kNumber) == kNumber) {
    names.emplace_back("number");
  } else if (types & kInteger) {
    names.emplace_back("integer");
  }
  if (types & kString) names.emplace_back("string");
  if (types & kArray) names.emplace_back("array");
  if (types & kObject) names.emplace_back("object");
  return names;
}

absl::StatusOr<json::object> merge_schemas(const json::object& a, const json::object& b) {
  return Merger(a, b).merge();
}

std::optional<json::array> values_of(const json::object& schema) {
  const json::value* values = find(schema, "enum");
  const json::value* constant = find(schema, "const");
  const json::array* list = values == nullptr ? nullptr : values->if_array();
  if (constant == nullptr) return list == nullptr ? std::nullopt : std::optional(*list);
  if (list != nullptr && !ValueSet(*list).contains(*constant)) return json::array();
  json::array single;
  single.push_back(*constant);
  return single;
}

absl::StatusOr<bool> surely_disjoint(const json::value& a, const json::value& b,
                                     std::optional<Types> outer) {
  if (a == json::value(false) || b == json::value(false)) return true;
  if (!a.is_object() || !b.is_object()) return false;
  const json::object& left = a.get_object();
  const json::object& right = b.get_object();
  absl::StatusOr<BranchTypes> types_a = branch_types(left, outer);
  if (!types_a.ok()) return types_a.status();
  absl::StatusOr<BranchTypes> types_b = branch_types(right, outer);
  if (!types_b.ok()) return types_b.status();
  const Types shared = static_cast<Types>((types_a->generated & types_b->valid) |
                                          (types_b->generated & types_a->valid));
  if (shared == 0) return true;
  const std::optional<json::array> values_a = values_of(left);
  const std::optional<json::array> values_b = values_of(right);
  if (values_a && values_b) {
    return shared_values(*values_a, *values_b).empty();
  }
  return shared == kObject && has_discriminator(left, right);
}

}  // namespace deltaserve::grammar
