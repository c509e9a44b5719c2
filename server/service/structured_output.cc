#include "server/service/structured_output.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "engine/grammar/grammar.h"
#include "engine/grammar/grammar_cache.h"
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

}  // namespace

absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint_for(const StructuredOutput& output,
                                                                     const ServedModel& model) {
  if (model.grammars == nullptr) {
    return invalid_argument(output.param, " needs a tokenizer, and the model has none");
  }
  absl::StatusOr<GrammarCache::Grammar> grammar = model.grammars->get(
      key_of(output), [&](const auto& memory) { return compile(output, memory); });
  if (!grammar.ok()) return prefixed(output.param, grammar.status());
  auto constraint =
      make_constraint(*std::move(grammar), model.grammars->table(), model.eos_token_ids);
  if (constraint.ok()) {
    // This makes the grammar keep the first mask, which saves the time of the engine's thread.
    std::vector<uint32_t> words((static_cast<size_t>(model.vocab_size) + 31) / 32);
    (*constraint)->allowed(words);
  }
  return constraint;
}

bool must_compile(const StructuredOutput& output, const ServedModel& model) {
  return model.grammars != nullptr && !model.grammars->knows(key_of(output));
}

}  // namespace deltaserve
