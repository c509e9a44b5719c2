// The grammar of answers that call tools, and of answers behind a block of reasoning.
//
// An answer of which a call is demanded is calls, valid by construction. Where the model decides,
// text is free until a marker begins a call, in the middle of a token perhaps; then the call is
// bound, and behind it text is free again.
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

// Says what a request demands of its answer beside a form of the content.
struct AnswerDemand {
  std::shared_ptr<const AnswerMarkup> markup;
  // A block of reasoning is free text, and what is demanded begins behind it.
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
// form. A tool whose arguments may be wrong is one without `strict` that the model may call as it
// likes: what of its schema cannot be enforced then permits all values of its types, and if the
// schemas are too large together, the arguments are any object. INVALID_ARGUMENT names the tool and
// the place otherwise.
absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_answer_grammar(
    const AnswerDemand& demand, const AddForm& form, const std::shared_ptr<GrammarMemory>& memory);

}  // namespace deltaserve
