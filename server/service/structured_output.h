// Answers of a given form (JSON, a regular expression, one of some strings, a grammar), as the
// constraint that the engine follows.
#pragma once
#include <boost/json/value.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sequence/token_constraint.h"
#include "server/base/served_model.h"
#include "server/tools/call_grammar.h"

namespace deltaserve {

struct StructuredOutput {
  enum class Kind : uint8_t { kJsonObject, kJsonSchema, kRegex, kChoice, kGrammar };
  Kind kind = Kind::kJsonObject;
  std::string param;                 // that asked for it, for errors
  boost::json::value schema;         // kJsonSchema
  std::string text;                  // kRegex, kGrammar
  std::vector<std::string> choices;  // kChoice
};

// Makes the constraint of an answer whose content has a form (`output`), and that may call tools or
// have reasoning before the content (`demand`). Either may be null, and then the constraint may be
// null, too. INVALID_ARGUMENT names the parameter and says what in the schema, expression or
// grammar is not supported, or that the model has no tokenizer. Returns UNAVAILABLE if grammars
// take too much memory already. If the model decides on calls, and the vocabulary cannot spell all
// of them, they are not constrained. Heavy for large schemas that are not in the model's cache:
// never on an I/O thread.
absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint_for(const StructuredOutput* output,
                                                                     const AnswerDemand* demand,
                                                                     const ServedModel& model);

// Returns whether make_constraint_for() would compile something, which may take long.
bool must_compile(const StructuredOutput* output, const AnswerDemand* demand,
                  const ServedModel& model);

}  // namespace deltaserve
