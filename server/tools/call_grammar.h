// The grammar of answers that call tools, and of answers after a block of reasoning.
//
// A demanded answer consists of calls, which are always valid. If the model decides, text is free
// until a marker begins a call, perhaps in the middle of a token. Then the call is constrained, and
// after it text is free again.
#pragma once
#include <boost/json/array.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/grammar.h"
#include "server/tools/answer_markup.h"

namespace deltaserve {

// The demands of a request on its answer, apart from the form of the content.
struct AnswerDemand {
  std::shared_ptr<const AnswerMarkup> markup;
  // If true, a block of reasoning is free text, and the demands begin after it.
  bool reads_reasoning = false;
  ReasoningStart start = ReasoningStart::kByModel;
  // Tools that may be called, as the request has them; empty: none.
  boost::json::array tools = {};
  bool must_call = false;
  bool only_one = false;  // at most one call
};

// Adds the form of an answer's content to the rules of a grammar.
using AddForm = std::function<absl::StatusOr<grammar::ExprId>(grammar::RuleSet* rules)>;

// Returns a text that is equal for equal demands only.
std::string key_of(const AnswerDemand& demand);

// Compiles the grammar of the answers to a demand; the content, if `form` is not null, has the
// form. If the model decides on the calls, a tool without `strict` may have wrong arguments: a part
// of its schema that cannot be enforced permits all values of its types, and if the schemas
// together are too large, the arguments are any object. In all other cases INVALID_ARGUMENT names
// the tool and the place.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_answer_grammar(
    const AnswerDemand& demand, const AddForm& form, const std::shared_ptr<GrammarMemory>& memory);

}  // namespace deltaserve
