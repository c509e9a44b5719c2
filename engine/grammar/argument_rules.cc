#include "engine/grammar/argument_rules.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/limits.h"
#include "engine/grammar/python_values.h"
#include "engine/grammar/regex_parser.h"
#include "engine/grammar/rule_nfa.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_objects.h"
#include "engine/grammar/schema_strings.h"
#include "engine/grammar/token_table.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

class ArgumentBuilder {
 public:
  ArgumentBuilder(const ArgumentSyntax& syntax, const SchemaContext& context)
      : syntax_(syntax), context_(context), rules_(*context.rules), python_(context) {}

  ExprOr build(const ObjectMembers& members) {
    MemberSyntax syntax;
    syntax.key = [&](const std::string& name) { return key(name); };
    syntax.value = [&](const ObjectMembers::Named& member) {
      return value(member.schema, member.place);
    };
    syntax.other = [&] { return other(members); };
    syntax.separator = separator();
    syntax.space = rules_.literal("");
    syntax.end = rules_.literal(syntax_.end);
    const bool counts = members.count.min > 0 || members.count.max != kUnlimited;
    return members_expression(members, syntax, context_.options.any_order || counts, "arguments",
                              &rules_);
  }

 private:
  static constexpr std::string_view kNames = "[A-Za-z_][A-Za-z0-9_.-]{0,63}";

  ExprId joined(std::initializer_list<ExprId> parts) {
    return rules_.concat(std::vector<ExprId>(parts));
  }

  ExprId separator() {
    const ExprId written = rules_.literal(syntax_.separator);
    if (!syntax_.python_values) return written;
    return rules_.alternate(std::vector<ExprId>{written, rules_.literal(",")});
  }

  ExprOr key(const std::string& name) {
    const bool is_writable = !name.empty() && std::none_of(name.begin(), name.end(), [&](char c) {
      const bool is_mark = std::string_view("<>=(),\"' ").find(c) != std::string_view::npos;
      return static_cast<uint8_t>(c) < 0x20 || is_mark;
    });
    if (!is_writable) {
      return invalid_argument("the argument ", quoted(name),
                              " cannot be written in the model's format of tool calls");
    }
    return rules_.literal(str_cat(syntax_.key_open, name, syntax_.key_close));
  }

  ExprOr other(const ObjectMembers& members) {
    RuleSet taken;
    std::vector<ExprId> literals;
    for (const ObjectMembers::Named& named : members.named) {
      literals.push_back(taken.literal(named.name));
    }
    const RuleId rule = taken.add_rule("names");
    taken.rule(rule).body = taken.alternate(literals);
    AutomatonBudget* budget = rules_.budget();
    absl::StatusOr<Dfa> taken_names = rule_dfa(taken, rule, budget);
    if (!taken_names.ok()) return taken_names.status();
    absl::StatusOr<Dfa> names = regex_dfa(kNames, budget);
    if (names.ok()) names = subtract(*names, *taken_names, budget);
    if (names.ok() && members.others_form) {
      names = intersect(*names, *members.others_form, budget);
    }
    if (!names.ok()) return names.status();
    const RuleId key_rule = rules_.add_rule("argument");
    rules_.rule(key_rule).separate = true;
    rules_.rule(key_rule).unique_key = true;
    rules_.rule(key_rule).body = rules_.dfa(minimize(*names, budget));
    ExprOr written = value(members.others, members.others_place);
    if (!written.ok()) return written;
    return joined({rules_.literal(syntax_.key_open), rules_.call(key_rule),
                   rules_.literal(syntax_.key_close), *written});
  }

  // Returns a value and the text after it. It is a rule of its own, so that the automaton of the
  // arguments needs no states for values.
  ExprOr value(const json::value* schema, const std::string& place) {
    const RuleId rule = rules_.add_rule(place);
    rules_.rule(rule).separate = true;
    ExprOr body = syntax_.raw_strings ? raw_value(schema, place) : json_value(schema, place);
    if (!body.ok()) return prefixed(place, body.status());
    rules_.rule(rule).body = *body;
    return rules_.call(rule);
  }

  ExprId close() { return rules_.literal(end_of_value()); }
  std::string end_of_value() const {
    return syntax_.value_space + syntax_.value_close + syntax_.behind_value;
  }

  ExprOr json_value(const json::value* schema, const std::string& place) {
    if (syntax_.python_values) {
      ExprOr either = python_.value(schema, place);
      if (!either.ok()) return either;
      return joined({*either, close()});
    }
    std::vector<ExprId> choices{json_call(schema, place)};
    if (schema != nullptr) {
      absl::StatusOr<const json::value*> resolved = context_.resolver->resolve(*schema);
      if (!resolved.ok()) return resolved.status();
      if (const json::object* object = (*resolved)->if_object()) add_words(*object, &choices);
    }
    return joined({rules_.alternate(choices), close()});
  }

  ExprId json_call(const json::value* schema, const std::string& place) {
    if (schema == nullptr) return rules_.call(context_.json->any_value());
    return rules_.call(context_.rule_for(*schema, place));
  }

  // Adds Python's words if the schema constrains only the type, or lists its values.
  void add_words(const json::object& schema, std::vector<ExprId>* choices) {
    const absl::StatusOr<Types> types = declared_types(schema);
    const bool is_plain = constraints_of(schema, {"type", "nullable", "enum"}).empty();
    const json::value* values = find(schema, "enum");
    if (!types.ok() || !is_plain || (values == nullptr && *types == kAllTypes)) return;
    const auto add = [&](Types type, const json::value& value, const char* word) {
      const bool is_listed =
          values == nullptr || !values->is_array() ||
          std::count(values->get_array().begin(), values->get_array().end(), value);
      if ((*types & type) && is_listed) choices->push_back(rules_.literal(word));
    };
    add(kBoolean, true, "True");
    add(kBoolean, false, "False");
    add(kNull, nullptr, "None");
  }

  // The alternatives of anyOf and oneOf may be strings, which are raw, and others, which are JSON.
  ExprOr raw_value(const json::value* schema, const std::string& place) {
    static const json::value kAny = json::object();
    std::vector<const json::value*> pending{schema == nullptr ? &kAny : schema};
    std::vector<ExprId> choices;
    for (size_t i = 0; i < pending.size(); ++i) {
      if (i > grammar_limits::kOneOfBranches)
        return invalid_argument("more alternatives than ", grammar_limits::kOneOfBranches);
      absl::StatusOr<const json::value*> resolved = context_.resolver->resolve(*pending[i]);
      if (!resolved.ok()) return resolved.status();
      const bool* always = (*resolved)->if_bool();
      if (always != nullptr && !*always) continue;
      const json::object* object = (always != nullptr ? kAny : **resolved).if_object();
      if (object == nullptr) return invalid_argument("a schema must be an object, true or false");
      const json::value* branches = find(*object, "anyOf");
      if (branches == nullptr || !branches->is_array()) {
        absl::Status status = add_raw_choices(*object, place, &choices);
        if (!status.ok()) return status;
        continue;
      }
      const json::object siblings = constraints_of(*object, {"anyOf"});
      for (const json::value& branch : branches->get_array()) {
        absl::StatusOr<const json::value*> both = context_.resolver->both(siblings, branch);
        if (!both.ok()) return both.status();
        pending.push_back(*both);
      }
    }
    return rules_.alternate(choices);
  }

  absl::Status add_raw_choices(const json::object& schema, const std::string& place,
                               std::vector<ExprId>* choices) {
    absl::StatusOr<Types> types = generated_types(schema);
    if (!types.ok()) return types.status();
    if (*types & kString) {
      ExprOr raw = raw_string(schema);
      if (!raw.ok()) return raw.status();
      choices->push_back(*raw);
    }
    const auto others = static_cast<Types>(*types & ~kString);
    if (others == 0) return absl::OkStatus();
    std::vector<ExprId> values;
    const json::object limits{{"type", type_names(others)}};
    absl::StatusOr<const json::value*> both = context_.resolver->both(limits, json::value(schema));
    if (!both.ok()) return both.status();
    values.push_back(rules_.call(context_.rule_for(**both, place)));
    add_words(schema, &values);
    choices->push_back(joined({rules_.alternate(values), close()}));
    return absl::OkStatus();
  }

  ExprOr raw_string(const json::object& schema) {
    absl::StatusOr<StringContent> content = string_content(schema, context_);
    if (!content.ok()) return content.status();
    if (content->min > content->max) return rules_.alternate({});
    AutomatonBudget* budget = rules_.budget();
    absl::StatusOr<Dfa> text = regex_dfa("[\\s\\S]*", budget);
    if (content->form) text = *std::move(content->form);
    if (text.ok()) text = intersect(*text, bytes_without({syntax_.value_close}), budget);
    if (!text.ok()) return text.status();
    if (content->min == 0 && content->max == kUnlimited) {
      return joined({rules_.dfa(minimize(*text, budget)), close()});
    }
    if (content->form) {
      return invalid_argument("'maxLength' beside a pattern or format is more than ",
                              grammar_limits::kCounted);
    }
    return counted_string(*content, minimize(*text, budget));
  }

  // The text after the string may continue it until the last character is read, so it is counted,
  // too.
  ExprOr counted_string(const StringContent& content, Dfa text) {
    const bool is_control =
        static_cast<uint8_t>(syntax_.value_close[0]) == TokenTable::kControlByte;
    const size_t of_close = is_control ? 0 : syntax_.value_close.size() - 1;
    const auto extra = static_cast<uint32_t>(syntax_.value_space.size() + of_close);
    const RuleId rule = rules_.add_rule("counted text");
    mark_characters(1, &text);
    rules_.rule(rule).separate = true;
    rules_.rule(rule).count = MarkCount{
        content.min + extra, content.max == kUnlimited ? kUnlimited : content.max + extra};
    const ExprId body = joined({rules_.dfa(std::move(text)), close()});
    rules_.rule(rule).body = body;
    return rules_.call(rule);
  }

  const ArgumentSyntax& syntax_;
  const SchemaContext& context_;
  RuleSet& rules_;
  PythonValues python_;
};

absl::StatusOr<ObjectMembers> argument_members(const json::value& schema,
                                               const SchemaContext& context) {
  absl::StatusOr<const json::value*> place = context.resolver->resolve(schema);
  if (!place.ok()) return place.status();
  const json::object* object = (*place)->if_object();
  const bool has_choices =
      object != nullptr && (object->contains("anyOf") || object->contains("oneOf") ||
                            object->contains("if") || object->contains("not"));
  if (object == nullptr || has_choices) {
    return invalid_argument(
        "alternatives of arguments cannot be enforced in the model's format of "
        "tool calls");
  }
  return object_members(*object, "#", context);
}

}  // namespace

ExprOr arguments_expression(const json::value& schema, const ArgumentSyntax& syntax,
                            const SchemaContext& context) {
  absl::StatusOr<ObjectMembers> members = argument_members(schema, context);
  if (!members.ok() && context.options.lenient) members = object_members({}, "#", context);
  if (!members.ok()) return members.status();
  if (members->is_impossible) return context.rules->alternate({});
  return ArgumentBuilder(syntax, context).build(*members);
}

}  // namespace deltaserve::grammar
