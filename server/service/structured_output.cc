#include "server/service/structured_output.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "engine/grammar/ebnf_parser.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/grammar_cache.h"
#include "engine/grammar/grammar_parts.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex_parser.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

// Returns equal keys for equal forms. The order of a schema's keys counts: properties follow it.
std::string key_of(const StructuredOutput& output) {
  switch (output.kind) {
    case StructuredOutput::Kind::kJsonObject: return "json_object";
    case StructuredOutput::Kind::kJsonSchema:
      return str_cat("json_schema ", boost::json::serialize(output.schema));
    case StructuredOutput::Kind::kRegex: return str_cat("regex ", output.text);
    case StructuredOutput::Kind::kGrammar: return str_cat("grammar ", output.text);
    case StructuredOutput::Kind::kChoice: break;
  }
  std::string key = "choice";
  for (const std::string& choice : output.choices) {
    key.append(str_cat(" ", choice.size(), ":", choice));
  }
  return key;
}

absl::StatusOr<GrammarCache::Grammar> compile(const StructuredOutput& output,
                                              const std::shared_ptr<GrammarMemory>& memory) {
  switch (output.kind) {
    case StructuredOutput::Kind::kJsonObject: return compile_json_object(memory);
    case StructuredOutput::Kind::kJsonSchema: return compile_json_schema(output.schema, memory);
    case StructuredOutput::Kind::kRegex: return compile_regex(output.text, memory);
    case StructuredOutput::Kind::kChoice: return compile_choice(output.choices, memory);
    case StructuredOutput::Kind::kGrammar: return compile_ebnf(output.text, memory);
  }
  return absl::InternalError("unknown form");
}

absl::StatusOr<grammar::ExprId> add_form(const StructuredOutput& output, grammar::RuleSet* rules) {
  absl::StatusOr<grammar::RuleId> rule = absl::InternalError("unknown form");
  switch (output.kind) {
    case StructuredOutput::Kind::kJsonObject: return grammar::add_json_object(rules);
    case StructuredOutput::Kind::kRegex: return grammar::parse_regex(output.text, rules);
    case StructuredOutput::Kind::kChoice: return grammar::add_choice(output.choices, rules);
    case StructuredOutput::Kind::kJsonSchema:
      rule = grammar::add_schema_rules(output.schema, {}, rules);
      break;
    case StructuredOutput::Kind::kGrammar: rule = grammar::parse_ebnf(output.text, rules); break;
  }
  if (!rule.ok()) return rule.status();
  return rules->call(*rule);
}

// A demand without tools and reasoning has no effect.
bool says_something(const AnswerDemand* demand) {
  if (demand == nullptr) return false;
  const bool defers = demand->reads_reasoning && demand->start != ReasoningStart::kNone;
  return defers || !demand->tools.empty();
}

// At least one of the two asks for something.
std::string key_of(const StructuredOutput* output, const AnswerDemand* demand) {
  if (!says_something(demand)) return key_of(*output);
  const std::string form = output == nullptr ? "" : key_of(*output);
  return str_cat("answer ", form.size(), " ", form, key_of(*demand));
}

bool asks_for_something(const StructuredOutput* output, const AnswerDemand* demand) {
  return output != nullptr || (demand != nullptr && !demand->tools.empty());
}

absl::StatusOr<GrammarCache::Grammar> find_grammar(const StructuredOutput* output,
                                                   const AnswerDemand* demand,
                                                   GrammarCache* grammars) {
  if (!says_something(demand)) {
    auto grammar = grammars->get(key_of(output, demand),
                                 [&](const auto& memory) { return compile(*output, memory); });
    return grammar.ok() ? std::move(grammar) : prefixed(output->param, grammar.status());
  }
  AddForm form;
  if (output != nullptr) {
    form = [output](grammar::RuleSet* rules) -> absl::StatusOr<grammar::ExprId> {
      auto added = add_form(*output, rules);
      return added.ok() ? std::move(added) : prefixed(output->param, added.status());
    };
  }
  auto grammar = grammars->get(key_of(output, demand), [&](const auto& memory) {
    return compile_answer_grammar(*demand, form, memory);
  });
  if (grammar.ok()) return grammar;
  const std::string param = demand->tools.empty() ? output->param : "tools";
  const std::string_view message(grammar.status().message().data(),
                                 grammar.status().message().size());
  const bool is_named =
      message.starts_with(param) || (output != nullptr && message.starts_with(output->param));
  return is_named ? std::move(grammar) : prefixed(param, grammar.status());
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint_for(const StructuredOutput* output,
                                                                     const AnswerDemand* demand,
                                                                     const ServedModel& model) {
  if (!asks_for_something(output, demand)) return nullptr;
  if (model.grammars == nullptr) {
    return invalid_argument(output == nullptr ? "tools" : output->param,
                            " needs a tokenizer, and the model has none");
  }
  absl::StatusOr<GrammarCache::Grammar> grammar =
      find_grammar(output, demand, model.grammars.get());
  if (!grammar.ok()) return grammar.status();
  auto constraint =
      make_constraint(*std::move(grammar), model.grammars->table(), model.eos_token_ids);
  if (constraint.ok()) {
    // This computes the first mask, which the grammar keeps, so that the engine's thread does not
    // have to.
    std::vector<uint32_t> words((static_cast<size_t>(model.vocab_size) + 31) / 32);
    (*constraint)->allowed(words);
  } else if (output == nullptr && !demand->must_call) {
    return nullptr;
  } else {
    return prefixed(output == nullptr ? "tools" : output->param, constraint.status());
  }
  return constraint;
}

bool must_compile(const StructuredOutput* output, const AnswerDemand* demand,
                  const ServedModel& model) {
  return asks_for_something(output, demand) && model.grammars != nullptr &&
         !model.grammars->knows(key_of(output, demand));
}

}  // namespace deltaserve
