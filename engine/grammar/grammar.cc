#include "engine/grammar/grammar.h"

#include "engine/grammar/compiled_grammar.h"
#include "engine/grammar/ebnf_parser.h"
#include "engine/grammar/json_rules.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/regex_parser.h"
#include "models/text.h"

namespace deltaserve {

using grammar::ExprId;
using grammar::RuleId;
using grammar::RuleSet;

namespace {

using Compiled = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;

Compiled compile(RuleSet* rules, RuleId root) {
  absl::StatusOr<grammar::Pushdown> pushdown =
      grammar::Pushdown::compile(*rules, root, rules->budget());
  if (!pushdown.ok()) return pushdown.status();
  return std::make_shared<const CompiledGrammar>(*std::move(pushdown));
}

Compiled compile_root(RuleSet* rules, absl::StatusOr<ExprId> body) {
  if (!body.ok()) return body.status();
  const RuleId root = rules->add_rule("root");
  rules->rule(root).body = *body;
  return compile(rules, root);
}

}  // namespace

grammar::StateMaskCache& CompiledGrammar::masks(
    const std::shared_ptr<const TokenTable>& table) const {
  const std::lock_guard lock(mutex_);
  for (const auto& cache : masks_) {
    if (&cache->table() == table.get()) return *cache;
  }
  masks_.push_back(std::make_unique<grammar::StateMaskCache>(pushdown_, table));
  return *masks_.back();
}

Compiled compile_regex(std::string_view source) {
  RuleSet rules;
  absl::StatusOr<ExprId> body = grammar::parse_regex(source, &rules);
  return compile_root(&rules, std::move(body));
}

Compiled compile_choice(const std::vector<std::string>& choices) {
  if (choices.empty()) return invalid_argument("there is no choice");
  if (choices.size() > grammar_limits::kChoices) {
    return invalid_argument("more than ", grammar_limits::kChoices, " choices");
  }
  RuleSet rules;
  std::vector<ExprId> literals;
  size_t bytes = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    bytes += choices[i].size();
    if (bytes > grammar_limits::kSourceBytes) {
      return invalid_argument("longer than ", grammar_limits::kSourceBytes, " bytes together");
    }
    if (!grammar::is_utf8(choices[i])) return invalid_argument("choice ", i, " is not UTF-8");
    literals.push_back(rules.literal(choices[i]));
  }
  return compile_root(&rules, rules.alternate(literals));
}

Compiled compile_ebnf(std::string_view source) {
  RuleSet rules;
  absl::StatusOr<RuleId> root = grammar::parse_ebnf(source, &rules);
  if (!root.ok()) return root.status();
  return compile(&rules, *root);
}

Compiled compile_json_object() {
  RuleSet rules;
  grammar::JsonRules json(&rules);
  return compile_root(&rules, rules.call(json.any_object()));
}

Compiled compile_json_schema(const boost::json::value& schema) {
  RuleSet rules;
  absl::StatusOr<RuleId> root = grammar::add_schema_rules(schema, &rules);
  if (!root.ok()) return root.status();
  return compile(&rules, *root);
}

}  // namespace deltaserve
