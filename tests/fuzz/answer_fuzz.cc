// Fuzzes what is read out of answers: the markup of tool calls and reasoning in every format.
// However an answer is cut into pieces, the same is told of it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/check.h"
#include "server/tools/answer_parser.h"
#include "server/tools/tool_format.h"

namespace {

using namespace deltaserve;

constexpr size_t kOptions = 4;  // bytes in front that choose the format and how the answer is read

std::shared_ptr<AnswerRules> rules_of(const uint8_t* options) {
  static const std::vector<std::string> kFormats = tool_format_names();
  auto rules = std::make_shared<AnswerRules>();
  rules->markup = std::make_shared<AnswerMarkup>(
      find_tool_format(kFormats[options[0] % kFormats.size()]),
      (options[1] & 1) != 0 ? recognise_reasoning_format("<think></think>") : nullptr, nullptr);
  rules->reads_calls = (options[1] & 2) != 0;
  rules->reads_reasoning = (options[1] & 1) != 0;
  rules->only_first_call = (options[1] & 4) != 0;
  rules->start = (options[1] & 8) != 0 ? ReasoningStart::kOpen : ReasoningStart::kByModel;
  rules->tools = ToolArguments(
      {{{"type", "function"},
        {"function",
         {{"name", "f"},
          {"parameters",
           {{"type", "object"},
            {"properties", {{"a", {{"type", "string"}}}, {"b", {{"type", "integer"}}}}}}}}}}});
  return rules;
}

// Reads pieces of `size` bytes; 0: one piece.
ParsedAnswer parsed(const std::shared_ptr<AnswerRules>& rules, std::string_view text, size_t size,
                    bool cut) {
  AnswerParser parser(rules);
  ParsedAnswer answer;
  std::vector<AnswerDelta> deltas;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, size == 0 ? text.size() : size);
    text.remove_prefix(piece.size());
    parser.append(piece, {}, &deltas);
  }
  parser.finish(cut, &deltas);
  answer.add(deltas);
  for (ToolCall& call : answer.calls) call.id.clear();  // some are random
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kOptions) return 0;
  const auto rules = rules_of(data);
  std::string text(reinterpret_cast<const char*>(data + kOptions), size - kOptions);
  for (char& c : text) c = static_cast<char>(c & 0x7f);  // pieces have whole characters
  const bool cut = (data[1] & 16) != 0;
  DS_CHECK(parsed(rules, text, 0, cut) == parsed(rules, text, 1 + data[2] % 16, cut));
  return 0;
}
