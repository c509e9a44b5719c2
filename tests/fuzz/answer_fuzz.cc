// Fuzzes answers of models: a byte that chooses the format, and a text. However it is cut into
// pieces, it says the same, and arguments that were begun belong to a call.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sequence/text_emitter.h"
#include "kernels/base/check.h"
#include "server/tools/answer_parser.h"

namespace {

using deltaserve::AnswerDelta;
using deltaserve::AnswerRules;
using deltaserve::ParsedAnswer;

std::shared_ptr<const AnswerRules> rules_of(uint8_t choice) {
  const std::vector<std::string> names = deltaserve::tool_format_names();
  auto rules = std::make_shared<AnswerRules>();
  rules->markup = std::make_shared<deltaserve::AnswerMarkup>(
      deltaserve::find_tool_format(names[(choice / 4) % names.size()]),
      deltaserve::recognise_reasoning_format("<think>"), nullptr);
  rules->reads_calls = true;
  rules->reads_reasoning = choice % 2 == 1;
  rules->start =
      choice % 4 == 3 ? deltaserve::ReasoningStart::kOpen : deltaserve::ReasoningStart::kByModel;
  return rules;
}

ParsedAnswer read(const std::shared_ptr<const AnswerRules>& rules, std::string_view bytes,
                  size_t piece, bool cut) {
  deltaserve::AnswerParser parser(rules);
  deltaserve::TextEmitter emitter({});
  ParsedAnswer answer;
  for (size_t at = 0; at <= bytes.size(); at += piece) {
    std::string text;
    emitter.append(bytes.substr(at, piece), &text);
    if (at + piece > bytes.size()) emitter.flush(&text);
    std::vector<AnswerDelta> deltas;
    parser.append(text, {}, &deltas);
    if (at + piece > bytes.size()) parser.finish(cut, &deltas);
    answer.add(deltas);
  }
  for (deltaserve::ToolCall& call : answer.calls) {
    DS_CHECK(!call.id.empty());
    call.id.clear();  // it is drawn
  }
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto rules = rules_of(data[0]);
  for (const bool cut : {false, true}) {
    const ParsedAnswer whole = read(rules, text, text.size() + 1, cut);
    DS_CHECK(read(rules, text, 1, cut) == whole);
    DS_CHECK(read(rules, text, 7, cut) == whole);
  }
  return 0;
}
