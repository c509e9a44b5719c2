// Rules for the parts of JSON.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/schema_options.h"

namespace deltaserve::grammar {

// Adds each rule to the RuleSet when it is first asked for.
class JsonRules {
 public:
  JsonRules(RuleSet* rules, JsonSpace space) : rules_(rules), space_(space) {}

  RuleId any_value();
  RuleId any_object();
  RuleId any_array();
  // Returns the rule of any string: valid UTF-8, all escapes, those of surrogates in pairs.
  RuleId any_string();
  ExprId integer();
  ExprId number();
  ExprId boolean();
  ExprId null();

  // Returns a string of min to max characters.
  ExprId string_of_length(uint32_t min, uint32_t max);
  // Returns the texts of `content` of at most `max` characters, in quotes.
  ExprId string_of(const Dfa& content, uint32_t max = kUnlimited);
  // Returns the rule of a key that is none of `names`, that `form` (if not null) accepts, and that
  // does not yet occur in the object; the rule that calls it must be `separate`. Characters that
  // JSON cannot hold unescaped are left out, except '"' and '\'.
  absl::StatusOr<RuleId> new_key(const std::vector<std::string>& names, const Dfa* form);
  // Returns a new rule of the strings of `form`, each of which may come once in a call of the rule
  // that calls it, which must be `separate`.
  RuleId unique_string(const Dfa& form);
  // Returns "key": and the space before the value.
  ExprId named(std::string_view key);
  // Returns any number of members of an object.
  ExprId members(RuleId key, RuleId value);
  // Returns the space that may come after '[' and '{' and before ']' and '}'.
  ExprId space();
  ExprId comma();
  ExprId colon();
  // Returns `part` between min and max times; large numbers are counted. `part` must not have two
  // ways to go on, and `end` must not be empty nor begin as `part` does.
  static bool is_counted(uint32_t min, uint32_t max);
  ExprId counted(ExprId part, uint32_t min, uint32_t max, ExprId end);
  ExprId concat(std::initializer_list<ExprId> parts);

 private:
  RuleId separate_rule(std::string name);
  RuleId any_key();

  RuleSet* rules_;
  const JsonSpace space_;
  std::optional<RuleId> any_value_;
  std::optional<RuleId> any_object_;
  std::optional<RuleId> any_array_;
  std::optional<RuleId> any_string_;
  std::optional<RuleId> any_key_;
};

// Returns `text`, which is UTF-8, as a JSON string with quotes; escapes only what JSON demands.
std::string json_quoted(std::string_view text);

}  // namespace deltaserve::grammar
