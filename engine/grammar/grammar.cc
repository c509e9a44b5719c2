#include "engine/grammar/grammar.h"

#include "engine/grammar/compiled_grammar.h"
#include "engine/grammar/ebnf_parser.h"
#include "engine/grammar/grammar_parts.h"
#include "engine/grammar/json_rules.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/regex_parser.h"
#include "models/base/text.h"

namespace deltaserve {

using grammar::ExprId;
using grammar::RuleId;
using grammar::RuleSet;

namespace {

using Compiled = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;
using Memory = std::shared_ptr<GrammarMemory>;

Compiled compile(RuleSet* rules, RuleId root, const Memory& memory) {
  absl::StatusOr<grammar::Pushdown> pushdown =
      grammar::Pushdown::compile(*rules, root, rules->budget());
  if (!pushdown.ok()) return pushdown.status();
  if (memory != nullptr && !memory->take(pushdown->bytes())) {
    return absl::UnavailableError("too many large grammars are in use");
  }
  return std::make_shared<const CompiledGrammar>(*std::move(pushdown), memory);
}

Compiled compile_root(RuleSet* rules, absl::StatusOr<ExprId> body, const Memory& memory) {
  if (!body.ok()) return body.status();
  return grammar::compile_rules(rules, *body, memory);
}

}  // namespace

Compiled grammar::compile_rules(RuleSet* rules, ExprId root, const Memory& memory) {
  const RuleId rule = rules->add_rule("root");
  rules->rule(rule).body = root;
  return compile(rules, rule, memory);
}

absl::StatusOr<ExprId> grammar::add_choice(const std::vector<std::string>& choices,
                                           RuleSet* rules) {
  if (choices.empty()) return invalid_argument("there is no choice");
  if (choices.size() > grammar_limits::kChoices) {
    return invalid_argument("more than ", grammar_limits::kChoices, " choices");
  }
  std::vector<ExprId> literals;
  size_t bytes = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    bytes += choices[i].size();
    if (bytes > grammar_limits::kSourceBytes) {
      return invalid_argument("longer than ", grammar_limits::kSourceBytes, " bytes together");
    }
    if (!is_utf8(choices[i])) return invalid_argument("choice ", i, " is not UTF-8");
    literals.push_back(rules->literal(choices[i]));
  }
  return rules->alternate(literals);
}

ExprId grammar::add_json_object(RuleSet* rules) {
  JsonRules json(rules, JsonSpace::kCompact);
  return rules->call(json.any_object());
}

ExprId grammar::add_free_text(const std::vector<std::string>& markers, RuleSet* rules) {
  return rules->dfa(bytes_without(markers));
}

grammar::StateMaskCache& CompiledGrammar::masks(
    const std::shared_ptr<const TokenTable>& table) const {
  const std::lock_guard lock(mutex_);
  for (const auto& cache : masks_) {
    if (&cache->table() == table.get()) return *cache;
  }
  masks_.push_back(std::make_unique<grammar::StateMaskCache>(pushdown_, table, memory_));
  return *masks_.back();
}

size_t CompiledGrammar::bytes() const {
  size_t bytes = pushdown_.bytes();
  const std::lock_guard lock(mutex_);
  for (const auto& cache : masks_) bytes += cache->bytes();
  return bytes;
}

Compiled compile_regex(std::string_view source, const Memory& memory) {
  RuleSet rules;
  absl::StatusOr<ExprId> body = grammar::parse_regex(source, &rules);
  return compile_root(&rules, std::move(body), memory);
}

Compiled compile_choice(const std::vector<std::string>& choices, const Memory& memory) {
  RuleSet rules;
  absl::StatusOr<ExprId> body = grammar::add_choice(choices, &rules);
  return compile_root(&rules, std::move(body), memory);
}

Compiled compile_ebnf(std::string_view source, const Memory& memory) {
  RuleSet rules;
  absl::StatusOr<RuleId> root = grammar::parse_ebnf(source, &rules);
  if (!root.ok()) return root.status();
  return compile(&rules, *root, memory);
}

Compiled compile_json_object(const Memory& memory) {
  RuleSet rules;
  return compile_root(&rules, grammar::add_json_object(&rules), memory);
}

Compiled compile_json_schema(const boost::json::value& schema, const Memory& memory,
                             const SchemaOptions& options) {
  RuleSet rules;
  absl::StatusOr<RuleId> root = grammar::add_schema_rules(schema, options, &rules);
  if (!root.ok()) return root.status();
  return compile(&rules, *root, memory);
}

}  // namespace deltaserve
