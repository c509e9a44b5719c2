#include "engine/grammar/schema_arrays.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_strings.h"
#include "engine/grammar/schema_unevaluated.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// The items of an array, by their places.
struct Items {
  const json::array* prefix = nullptr;  // one schema for each of the first items
  const char* prefix_keyword = "prefixItems";
  const json::value* rest = nullptr;  // of the other items; null: any values
  const char* rest_keyword = "items";
};

absl::StatusOr<Items> items_of(const json::object& schema) {
  static const json::array kNone;
  Items items{.prefix = &kNone};
  items.rest = other_items(schema, &items.rest_keyword);
  const json::value* prefix = find(schema, "prefixItems");
  const json::value* listed = find(schema, "items");
  if (listed != nullptr && listed->is_array()) {
    if (prefix != nullptr) return invalid_argument("a list in 'items' beside 'prefixItems'");
    items.prefix = listed->if_array();
    items.prefix_keyword = "items";
  } else if (prefix != nullptr) {
    items.prefix = prefix->if_array();
    if (items.prefix == nullptr) {
      return invalid_argument("'prefixItems' must be a list of schemas");
    }
  }
  return items;
}

class ArrayBuilder {
 public:
  ArrayBuilder(const Items& items, uint32_t fewest, uint32_t most, const std::string& name,
               const SchemaContext& context)
      : items_(items),
        fewest_(fewest),
        most_(most),
        name_(name),
        context_(context),
        rules_(*context.rules),
        json_(*context.json) {}

  ExprId build() {
    const auto prefix = static_cast<uint32_t>(std::min<size_t>(items_.prefix->size(), most_));
    // Items are built from the last to the first: item i is followed by the items after it.
    ExprId rest = most_ > prefix ? more(prefix) : end();
    for (uint32_t i = prefix; i-- > 0;) {
      const ExprId one = i == 0 ? item(i) : json_.concat({json_.comma(), item(i)});
      rest = json_.concat({one, rest});
      if (i >= fewest_) rest = rules_.alternate(std::vector<ExprId>{rest, end_after(i)});
    }
    return json_.concat({rules_.literal("["), json_.space(), rest});
  }

 private:
  ExprId item(size_t i) {
    const bool in_prefix = i < items_.prefix->size();
    if (!in_prefix && items_.rest == nullptr) return rules_.call(json_.any_value());
    const json::value& schema = in_prefix ? (*items_.prefix)[i] : *items_.rest;
    const std::string step =
        in_prefix ? str_cat(items_.prefix_keyword, "/", i) : std::string(items_.rest_keyword);
    return rules_.call(context_.rule_for(schema, place_under(name_, step)));
  }

  ExprId end() { return json_.concat({json_.space(), rules_.literal("]")}); }
  // The space of an empty array has been read.
  ExprId end_after(uint32_t items) { return items == 0 ? rules_.literal("]") : end(); }

  // Returns the items from index `first` on, and the end.
  ExprId more(uint32_t first) {
    const uint32_t longest = most_ == kUnlimited ? kUnlimited : most_ - first;
    const uint32_t shortest = fewest_ > first ? fewest_ - first : 0;
    if (first > 0) return repeated(first, shortest, longest);
    const uint32_t longest_rest = longest == kUnlimited ? kUnlimited : longest - 1;
    const ExprId one = item(0);
    const ExprId some =
        json_.concat({one, repeated(0, shortest == 0 ? 0 : shortest - 1, longest_rest)});
    if (shortest > 0) return some;
    return rules_.alternate(std::vector<ExprId>{some, end_after(0)});
  }

  ExprId repeated(uint32_t i, uint32_t min, uint32_t max) {
    if (!JsonRules::is_counted(min, max)) {
      return json_.concat({rules_.repeat(json_.concat({json_.comma(), item(i)}), min, max), end()});
    }
    // A counted part must be a rule that ends in one way, so the space belongs to the item.
    const RuleId part = rules_.add_rule("item");
    rules_.rule(part).separate = true;
    const ExprId body = json_.concat({json_.comma(), item(i), json_.space()});
    rules_.rule(part).body = body;
    return json_.concat(
        {json_.space(), json_.counted(rules_.call(part), min, max, rules_.literal("]"))});
  }

  const Items& items_;
  const uint32_t fewest_;
  const uint32_t most_;
  const std::string& name_;
  const SchemaContext& context_;
  RuleSet& rules_;
  JsonRules& json_;
};

// Returns all values of a schema if there are few; nullopt otherwise.
absl::StatusOr<std::optional<json::array>> all_values(const json::value& schema,
                                                      SchemaResolver* resolver) {
  absl::StatusOr<const json::value*> place = resolver->resolve(schema);
  if (!place.ok()) return place.status();
  const json::object* object = (*place)->if_object();
  if (object == nullptr) return std::nullopt;
  absl::StatusOr<Types> types = declared_types(*object);
  if (!types.ok()) return types.status();
  const bool only_values = std::all_of(object->begin(), object->end(), [](const auto& member) {
    const std::string_view name(member.key().data(), member.key().size());
    return keyword_of(name) <= Keyword::kValues;
  });
  json::array values;
  const std::optional<json::array> listed = values_of(*object);
  if (listed && only_values) {
    for (const json::value& value : *listed) {
      const auto is_same = [&](const json::value& other) { return same_json(value, other); };
      if ((type_of(value) & *types) == 0) continue;
      if (std::none_of(values.begin(), values.end(), is_same)) values.push_back(value);
    }
    return values;
  }
  if (listed || (*types & ~(kNull | kBoolean)) != 0) return std::nullopt;
  if (*types & kNull) values.emplace_back(nullptr);
  if (*types & kBoolean) values.insert(values.end(), {json::value(true), json::value(false)});
  return values;
}

// Each item is a member of the rule, so that none comes twice.
ExprOr unique_array(const json::value& items, MarkCount count, const SchemaContext& context) {
  RuleSet& rules = *context.rules;
  JsonRules& json = *context.json;
  absl::StatusOr<std::optional<json::array>> values = all_values(items, context.resolver);
  if (!values.ok()) return values.status();
  std::vector<ExprId> choices;
  Members members{.count = count};
  size_t different = 0;  // values that an item may have
  if (*values) {
    for (const json::value& value : **values) {
      // A number may be the beginning of another, so it is a rule of its own, whose end is known.
      ExprId one = rules.literal(spelled(value));
      if (!value.is_string()) {
        const RuleId rule = rules.add_rule("value");
        rules.rule(rule).separate = true;
        rules.rule(rule).body = one;
        one = rules.call(rule);
      }
      members.required.push_back(false);
      const auto mark = static_cast<uint32_t>(members.required.size());
      choices.push_back(json.concat({one, rules.mark(mark)}));
    }
    different = (*values)->size();
  } else {
    absl::StatusOr<const json::value*> place = context.resolver->resolve(items);
    if (!place.ok()) return place.status();
    const json::object* object = (*place)->if_object();
    absl::StatusOr<Types> types = kAllTypes;
    if (object != nullptr) types = generated_types(*object);
    if (!types.ok()) return types.status();
    if (*types != kString) {
      return invalid_argument(
          "'uniqueItems' is supported only where items are strings or have an "
          "enum");
    }
    absl::StatusOr<Dfa> form = string_dfa(**place, context);
    if (!form.ok()) return form.status();
    different = num_texts(*form, kUnlimited);
    choices.push_back(rules.call(json.unique_string(*form)));
  }
  // No array can have that many different items.
  if (different < count.min) return rules.alternate({});
  const ExprId one = rules.alternate(choices);
  const ExprId more = rules.repeat(json.concat({json.comma(), one}), 0, kUnlimited);
  const ExprId body =
      json.concat({rules.literal("["), json.space(),
                   rules.optional(json.concat({one, more, json.space()})), rules.literal("]")});
  const RuleId rule = rules.add_rule("unique items");
  rules.rule(rule).separate = true;
  rules.rule(rule).members = std::move(members);
  rules.rule(rule).body = body;
  return rules.call(rule);
}

}  // namespace

std::string spelled(const json::value& value) {
  const double* real = value.if_double();
  if (real == nullptr) return exact_json(value);
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof digits, *real).ptr);
}

ExprOr array_expression(const json::object& schema, const std::string& name,
                        const SchemaContext& context) {
  absl::StatusOr<std::optional<uint32_t>> min = count_keyword(schema, "minItems");
  if (!min.ok()) return min.status();
  absl::StatusOr<std::optional<uint32_t>> max = count_keyword(schema, "maxItems");
  if (!max.ok()) return max.status();
  const uint32_t fewest = (*min).value_or(0);
  const uint32_t most = (*max).value_or(kUnlimited);
  if (fewest > most) return context.rules->alternate({});
  absl::StatusOr<Items> items = items_of(schema);
  if (!items.ok()) return items.status();
  const json::value* unique = find(schema, "uniqueItems");
  if (unique != nullptr && !unique->is_bool()) {
    return invalid_argument("'uniqueItems' must be true or false");
  }
  if (unique != nullptr && unique->get_bool() && most > 1) {
    if (!items->prefix->empty() || items->rest == nullptr) {
      return invalid_argument("'uniqueItems' is supported only with one schema for all items");
    }
    return unique_array(*items->rest, {fewest, most}, context);
  }
  return ArrayBuilder(*items, fewest, most, name, context).build();
}

}  // namespace deltaserve::grammar
