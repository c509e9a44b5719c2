#include "engine/grammar/json_rules.h"

#include "engine/grammar/limits.h"
#include "engine/grammar/regex_parser.h"
#include "engine/grammar/rule_nfa.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

constexpr std::string_view kCharacter =
    R"re([^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u(?:[0-9A-CEFa-cef][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|)re"
    R"re([Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))re";

// The indentation of lines is bounded so that even a poor model comes to an end, unless it wrote
// the text before freely.
constexpr std::string_view kSpace = "(?: {1,2}|\\r?\\n(?: {0,32}|\\t{1,8}))?";
constexpr std::string_view kLooseSpace = "(?: {1,2}|\\r?\\n[ \\t]*)?";

}  // namespace

RuleId JsonRules::separate_rule(std::string name) {
  const RuleId rule = rules_->add_rule(std::move(name));
  rules_->rule(rule).separate = true;
  return rule;
}

ExprId JsonRules::concat(std::initializer_list<ExprId> parts) {
  return rules_->concat(std::vector<ExprId>(parts));
}

ExprId JsonRules::space() {
  if (space_ == JsonSpace::kCompact) return rules_->literal("");
  return builtin_regex(space_ == JsonSpace::kLines ? kSpace : kLooseSpace, rules_);
}

ExprId JsonRules::comma() {
  if (space_ != JsonSpace::kCompact) return concat({rules_->literal(","), space()});
  return concat({rules_->literal(","), rules_->optional(rules_->literal(" "))});
}

ExprId JsonRules::colon() {
  const uint32_t most = space_ == JsonSpace::kCompact ? 1 : 2;
  return concat({rules_->literal(":"), rules_->repeat(rules_->literal(" "), 0, most)});
}

ExprId JsonRules::boolean() {
  return rules_->alternate(std::vector<ExprId>{rules_->literal("true"), rules_->literal("false")});
}

ExprId JsonRules::null() {
  return rules_->literal("null");
}

ExprId JsonRules::integer() {
  return builtin_regex(str_cat("0|-?[1-9][0-9]{0,", grammar_limits::kIntegerDigits - 1, "}"),
                       rules_);
}

ExprId JsonRules::number() {
  return builtin_regex(
      str_cat("-?(0|[1-9][0-9]{0,", grammar_limits::kIntegerDigits - 1, "})(\\.[0-9]{1,",
              grammar_limits::kFractionDigits, "})?([eE][+-]?[0-9]{1,2})?"),
      rules_);
}

RuleId JsonRules::any_string() {
  if (!any_string_) {
    any_string_ = separate_rule("JSON string");
    rules_->rule(*any_string_).body = string_of_length(0, kUnlimited);
  }
  return *any_string_;
}

RuleId JsonRules::any_value() {
  if (!any_value_) {
    any_value_ = separate_rule("JSON value");
    const std::vector<ExprId> kinds{
        rules_->call(any_string()), number(),  rules_->call(any_object()),
        rules_->call(any_array()),  boolean(), null()};
    const ExprId body = rules_->alternate(kinds);
    rules_->rule(*any_value_).body = body;
  }
  return *any_value_;
}

RuleId JsonRules::any_object() {
  if (!any_object_) {
    any_object_ = separate_rule("JSON object");
    const ExprId body =
        concat({rules_->literal("{"), space(),
                rules_->optional(concat({members(any_key(), any_value()), space()})),
                rules_->literal("}")});
    rules_->rule(*any_object_).body = body;
  }
  return *any_object_;
}

RuleId JsonRules::any_array() {
  if (!any_array_) {
    any_array_ = separate_rule("JSON array");
    const RuleId value = any_value();
    const ExprId more = rules_->repeat(concat({comma(), rules_->call(value)}), 0, kUnlimited);
    const ExprId body = concat({rules_->literal("["), space(),
                                rules_->optional(concat({rules_->call(value), more, space()})),
                                rules_->literal("]")});
    rules_->rule(*any_array_).body = body;
  }
  return *any_array_;
}

RuleId JsonRules::any_key() {
  if (!any_key_) {
    any_key_ = separate_rule("JSON key");
    rules_->rule(*any_key_).unique_key = true;
    rules_->rule(*any_key_).body = builtin_regex(R"re("(?:[^"\\\x00-\x1f]|\\["\\])*")re", rules_);
  }
  return *any_key_;
}

ExprId JsonRules::string_of_length(uint32_t min, uint32_t max) {
  const ExprId character = builtin_regex(kCharacter, rules_);
  return concat({rules_->literal("\""), counted(character, min, max, rules_->literal("\""))});
}

bool JsonRules::is_counted(uint32_t min, uint32_t max) {
  return min > grammar_limits::kCounted || (max > grammar_limits::kCounted && max != kUnlimited);
}

ExprId JsonRules::counted(ExprId part, uint32_t min, uint32_t max, ExprId end) {
  if (!is_counted(min, max)) return concat({rules_->repeat(part, min, max), end});
  const RuleId rule = separate_rule("counted");
  rules_->rule(rule).count = MarkCount{min, max};
  const ExprId parts = rules_->repeat(concat({part, rules_->mark(1)}), 0, kUnlimited);
  const ExprId body = concat({parts, end});
  rules_->rule(rule).body = body;
  return rules_->call(rule);
}

ExprId JsonRules::string_of(const Dfa& content, uint32_t max) {
  if (max == kUnlimited) {
    return concat(
        {rules_->literal("\""), rules_->dfa(json_escaped(content)), rules_->literal("\"")});
  }
  Dfa marked = content;
  mark_characters(1, &marked);
  const RuleId rule = separate_rule("counted string");
  // The mark of the start is not passed at the beginning of a call.
  rules_->rule(rule).count = MarkCount{0, max};
  const ExprId body = concat({rules_->dfa(json_escaped(marked)), rules_->literal("\"")});
  rules_->rule(rule).body = body;
  return concat({rules_->literal("\""), rules_->call(rule)});
}

RuleId JsonRules::unique_string(const Dfa& form) {
  const RuleId rule = separate_rule("unique string");
  rules_->rule(rule).unique_key = true;
  const ExprId body = string_of(form);
  rules_->rule(rule).body = body;
  return rule;
}

absl::StatusOr<RuleId> JsonRules::new_key(const std::vector<std::string>& names, const Dfa* form) {
  if (names.empty() && form == nullptr) return any_key();
  RuleSet taken;
  std::vector<ExprId> literals;
  for (const std::string& name : names) literals.push_back(taken.literal(name));
  const RuleId rule = taken.add_rule("names");
  taken.rule(rule).body = taken.alternate(literals);
  absl::StatusOr<Dfa> taken_names = rule_dfa(taken, rule, rules_->budget());
  if (!taken_names.ok()) return taken_names.status();
  absl::StatusOr<Dfa> all = regex_dfa("[^\\x00-\\x1f]*", rules_->budget());
  if (!all.ok()) return all.status();
  absl::StatusOr<Dfa> free = subtract(*all, *taken_names, rules_->budget());
  if (free.ok() && form != nullptr) free = intersect(*free, *form, rules_->budget());
  if (!free.ok()) return free.status();
  const RuleId key = separate_rule("JSON key");
  rules_->rule(key).unique_key = true;
  rules_->rule(key).body = string_of(*free);
  return key;
}

ExprId JsonRules::named(std::string_view key) {
  return concat({rules_->literal(json_quoted(key)), colon()});
}

ExprId JsonRules::members(RuleId key, RuleId value) {
  const auto member = [&] { return concat({rules_->call(key), colon(), rules_->call(value)}); };
  const ExprId first = member();
  return concat({first, rules_->repeat(concat({comma(), member()}), 0, kUnlimited)});
}

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20) {
      result += "\\u00";
      result += "01"[byte >> 4];
      result += "0123456789abcdef"[byte & 15];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace deltaserve::grammar
