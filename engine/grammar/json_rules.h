// Rules for the parts of JSON. Documents are compact, with one space at most after ',' and ':'.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Adds each rule to the RuleSet when it is first asked for.
class JsonRules {
 public:
  explicit JsonRules(RuleSet* rules) : rules_(rules) {}

  RuleId any_value();
  RuleId any_object();
  RuleId any_array();
  // Returns the rule of any string: valid UTF-8, all escapes except those of surrogates.
  RuleId any_string();
  ExprId integer();
  ExprId number();
  ExprId boolean();
  ExprId null();

  // Returns a string of min to max characters.
  ExprId string_of_length(uint32_t min, uint32_t max);
  // Returns the texts of `content` in quotes.
  ExprId string_of(const Dfa& content);
  // Returns the rule of a key that is none of `names` and that the object has not had; the rule
  // that calls it must be `separate`. Characters that JSON cannot hold unescaped are left out,
  // except '"' and '\'.
  absl::StatusOr<RuleId> new_key(const std::vector<std::string>& names);
  // Returns "key": and what comes before the value.
  ExprId named(std::string_view key);
  // Returns any number of members of an object.
  ExprId members(RuleId key, RuleId value);
  ExprId comma();
  ExprId colon();
  ExprId concat(std::initializer_list<ExprId> parts);

 private:
  RuleId separate_rule(std::string name);
  RuleId any_key();

  RuleSet* rules_;
  std::optional<RuleId> any_value_;
  std::optional<RuleId> any_object_;
  std::optional<RuleId> any_array_;
  std::optional<RuleId> any_string_;
  std::optional<RuleId> any_key_;
};

// Returns `text`, which is UTF-8, as a JSON string with quotes; escapes only what JSON demands.
std::string json_quoted(std::string_view text);

}  // namespace deltaserve::grammar
