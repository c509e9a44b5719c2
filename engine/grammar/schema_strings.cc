#include "engine/grammar/schema_strings.h"

#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/limits.h"
#include "engine/grammar/number_range.h"
#include "engine/grammar/regex_parser.h"
#include "engine/grammar/rule_nfa.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/string_formats.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// Returns the automaton of string_dfa(), which calls it.
absl::StatusOr<Dfa> string_dfa_of(const json::value& schema, const SchemaContext& context);

// Removes from `form` the strings that a condition does not permit.
absl::Status narrow(absl::StatusOr<Dfa> condition, AutomatonBudget* budget,
                    std::optional<Dfa>* form) {
  if (!condition.ok()) return condition.status();
  if (*form) condition = intersect(**form, *condition, budget);
  if (!condition.ok()) return condition.status();
  *form = minimize(*condition, budget);
  return absl::OkStatus();
}

absl::StatusOr<Dfa> any_string_dfa(uint32_t min, uint32_t max, AutomatonBudget* budget) {
  const std::string last = max == kUnlimited ? "" : std::to_string(max);
  return regex_dfa(str_cat("[\\s\\S]{", min, ",", last, "}"), budget);
}

absl::StatusOr<Dfa> dfa_of_strings(const json::array& values, AutomatonBudget* budget) {
  RuleSet rules;
  std::vector<ExprId> literals;
  for (const json::value& value : values) {
    const json::string* text = value.if_string();
    if (text != nullptr) literals.push_back(rules.literal({text->data(), text->size()}));
  }
  const RuleId rule = rules.add_rule("values");
  rules.rule(rule).body = rules.alternate(literals);
  if (absl::Status status = rules.status(); !status.ok()) return status;
  return rule_dfa(rules, rule, budget);
}

absl::Status narrow_by_text(const json::object& schema, const char* keyword,
                            AutomatonBudget* budget, std::optional<Dfa>* form) {
  const json::value* value = find(schema, keyword);
  if (value == nullptr) return absl::OkStatus();
  const json::string* text = value->if_string();
  if (text == nullptr) return invalid_argument(quoted(keyword), " must be a string");
  const std::string_view source(text->data(), text->size());
  if (std::string_view(keyword) == "pattern") {
    absl::Status status = narrow(regex_dfa(source, budget, /*search=*/true), budget, form);
    return status.ok() ? status : prefixed(keyword, status);
  }
  absl::StatusOr<std::optional<Dfa>> known = format_dfa(source, budget);
  if (!known.ok()) return prefixed(keyword, known.status());
  return *known ? narrow(**std::move(known), budget, form) : absl::OkStatus();
}

absl::Status narrow_by_negation(const json::value& negated, const SchemaContext& context,
                                std::optional<Dfa>* form) {
  AutomatonBudget* budget = context.rules->budget();
  absl::StatusOr<Dfa> excluded = string_dfa(negated, context);
  if (!excluded.ok()) return prefixed("not", excluded.status());
  absl::StatusOr<Dfa> all = any_string_dfa(0, kUnlimited, budget);
  if (!all.ok()) return all.status();
  return narrow(subtract(*all, *excluded, budget), budget, form);
}

// Moves small length bounds, and those that a form implies, from the counts to the form.
absl::Status settle_lengths(AutomatonBudget* budget, StringContent* content) {
  constexpr uint32_t kFew = grammar_limits::kCounted;
  if (content->max != kUnlimited && content->form) {
    const std::optional<size_t> longest = longest_text(*content->form);
    if (longest && *longest <= content->max) content->max = kUnlimited;
  }
  if (!content->form) return absl::OkStatus();
  if (content->min > grammar_limits::kRepetitions) {
    return invalid_argument("'minLength' beside a pattern or format is more than ",
                            grammar_limits::kRepetitions);
  }
  const bool few = content->max <= kFew;
  if (content->min == 0 && !few) return absl::OkStatus();
  const uint32_t max = few ? content->max : kUnlimited;
  absl::Status status = narrow(any_string_dfa(content->min, max, budget), budget, &content->form);
  content->min = 0;
  if (few) content->max = kUnlimited;
  return status;
}

absl::StatusOr<NumberBounds> number_bounds(const json::object& schema) {
  NumberBounds bounds;
  const auto read = [&](const char* keyword, bool exclusive,
                        std::vector<NumberBounds::Bound>* side) {
    const json::value* value = find(schema, keyword);
    if (value == nullptr) return absl::OkStatus();
    if (!is_exact_number(*value)) {
      return invalid_argument(quoted(keyword), " must be a number");
    }
    side->push_back({*value, exclusive});
    return absl::OkStatus();
  };
  for (const absl::Status& status :
       {read("minimum", false, &bounds.min), read("exclusiveMinimum", true, &bounds.min),
        read("maximum", false, &bounds.max), read("exclusiveMaximum", true, &bounds.max)}) {
    if (!status.ok()) return status;
  }
  return bounds;
}

// Returns the strings of some branch of an anyOf that the rest of its schema permits, too.
absl::StatusOr<Dfa> dfa_of_any(const json::value& branches, const json::object& schema,
                               const SchemaContext& context) {
  if (!branches.is_array()) return invalid_argument("'anyOf' must be a list of schemas");
  const json::object siblings = constraints_of(schema, {"anyOf"});
  RuleSet rules;
  std::vector<ExprId> choices;
  for (const json::value& branch : branches.get_array()) {
    absl::StatusOr<const json::value*> merged = context.resolver->both(siblings, branch);
    if (!merged.ok()) return merged.status();
    absl::StatusOr<Dfa> dfa = string_dfa(**merged, context);
    if (!dfa.ok()) return dfa.status();
    choices.push_back(rules.dfa(*std::move(dfa)));
  }
  const RuleId rule = rules.add_rule("any");
  rules.rule(rule).body = rules.alternate(choices);
  return rule_dfa(rules, rule, context.rules->budget());
}

absl::StatusOr<Dfa> string_dfa_of(const json::value& schema, const SchemaContext& context) {
  AutomatonBudget* budget = context.rules->budget();
  absl::StatusOr<const json::value*> place = context.resolver->resolve(schema);
  if (!place.ok()) return place.status();
  if (const bool* all = (*place)->if_bool()) {
    return *all ? any_string_dfa(0, kUnlimited, budget) : dfa_of_strings({}, budget);
  }
  const json::object* object = (*place)->if_object();
  if (object == nullptr) return invalid_argument("a schema must be an object, true or false");
  absl::StatusOr<Types> types = declared_types(*object);
  if (!types.ok()) return types.status();
  if ((*types & kString) == 0) return dfa_of_strings({}, budget);
  for (const char* keyword : {"oneOf", "if"}) {
    if (object->contains(keyword)) {
      return invalid_argument(quoted(keyword), " is not supported for strings here");
    }
  }
  if (const json::value* branches = find(*object, "anyOf")) {
    return dfa_of_any(*branches, *object, context);
  }
  absl::StatusOr<StringContent> content = string_content(*object, context);
  if (!content.ok()) return content.status();
  const uint32_t most = content->max;
  if (content->min > grammar_limits::kRepetitions ||
      (most > grammar_limits::kRepetitions && most != kUnlimited)) {
    return invalid_argument("lengths of more than ", grammar_limits::kRepetitions,
                            " characters are not supported here");
  }
  if (content->min > most) return dfa_of_strings({}, budget);
  const bool any_length = content->min == 0 && most == kUnlimited;
  if (any_length && content->form) return *std::move(content->form);
  absl::Status status = narrow(any_string_dfa(content->min, most, budget), budget, &content->form);
  if (!status.ok()) return status;
  return *std::move(content->form);
}

}  // namespace

absl::StatusOr<StringContent> string_content(const json::object& schema,
                                             const SchemaContext& context) {
  StringContent content;
  absl::StatusOr<std::optional<uint32_t>> min = count_keyword(schema, "minLength");
  if (!min.ok()) return min.status();
  absl::StatusOr<std::optional<uint32_t>> max = count_keyword(schema, "maxLength");
  if (!max.ok()) return max.status();
  content.min = (*min).value_or(0);
  content.max = (*max).value_or(kUnlimited);
  AutomatonBudget* budget = context.rules->budget();
  if (const std::optional<json::array> values = values_of(schema)) {
    absl::Status status = narrow(dfa_of_strings(*values, budget), budget, &content.form);
    if (!status.ok()) return status;
  }
  for (const char* keyword : {"pattern", "format"}) {
    absl::Status status = narrow_by_text(schema, keyword, budget, &content.form);
    if (!status.ok()) return status;
  }
  if (const json::value* negated = find(schema, "not")) {
    absl::Status status = narrow_by_negation(*negated, context, &content.form);
    if (!status.ok()) return status;
  }
  if (absl::Status status = settle_lengths(budget, &content); !status.ok()) return status;
  return content;
}

absl::StatusOr<Dfa> string_dfa(const json::value& schema, const SchemaContext& context) {
  // Schemas that refer to themselves end here.
  constexpr int kMostDepth = 32;
  constexpr size_t kSteps = 1000;
  AutomatonBudget* budget = context.rules->budget();
  budget->spend(kSteps);
  if (absl::Status status = budget->status(); !status.ok()) return status;
  if (context.string_depth >= kMostDepth) {
    return invalid_argument("conditions of strings are nested deeper than ", kMostDepth);
  }
  ++context.string_depth;
  absl::StatusOr<Dfa> dfa = string_dfa_of(schema, context);
  --context.string_depth;
  return dfa;
}

ExprOr string_expression(const json::object& schema, const SchemaContext& context) {
  absl::StatusOr<StringContent> content = string_content(schema, context);
  if (!content.ok()) return content.status();
  if (content->min > content->max) return context.rules->alternate({});
  if (!content->form) return context.json->string_of_length(content->min, content->max);
  return context.json->string_of(*content->form, content->max);
}

ExprOr number_expression(const json::object& schema, bool whole,
                         const std::vector<std::string>& excluded, const SchemaContext& context) {
  absl::StatusOr<NumberBounds> bounds = number_bounds(schema);
  if (!bounds.ok()) return bounds.status();
  const json::value* multiple = find(schema, "multipleOf");
  if (multiple != nullptr) bounds->multiple_of = *multiple;
  const bool is_free = bounds->min.empty() && bounds->max.empty() && multiple == nullptr;
  if (is_free && excluded.empty()) {
    return whole ? context.json->integer() : context.json->number();
  }
  AutomatonBudget* budget = context.rules->budget();
  absl::StatusOr<Dfa> dfa =
      whole ? integers_between(*bounds, budget) : numbers_between(*bounds, budget);
  if (dfa.ok() && !excluded.empty()) {
    absl::StatusOr<Dfa> texts =
        dfa_of_strings(json::array(excluded.begin(), excluded.end()), budget);
    dfa = texts.ok() ? subtract(*dfa, *texts, budget) : texts;
  }
  if (!dfa.ok()) return dfa.status();
  return context.rules->dfa(*std::move(dfa));
}

}  // namespace deltaserve::grammar
