// Fuzzes the grammars of tool calls: a byte that chooses the format and the demand, and the list of
// tools as JSON. A list is compiled, or refused with a sentence; equal demands have equal keys.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/compiled_grammar.h"
#include "kernels/base/check.h"
#include "models/base/json_numbers.h"
#include "server/tools/call_grammar.h"
#include "server/tools/tool_list.h"

namespace {

using namespace deltaserve;

AnswerDemand demand_of(uint8_t choice, boost::json::array tools) {
  const std::vector<std::string> names = tool_format_names();
  AnswerDemand demand;
  demand.markup = std::make_shared<AnswerMarkup>(find_tool_format(names[choice / 8 % names.size()]),
                                                 recognise_reasoning_format("<think>"), nullptr);
  demand.reads_reasoning = (choice & 1) != 0;
  demand.must_call = (choice & 2) != 0;
  demand.only_one = (choice & 4) != 0;
  demand.tools = std::move(tools);
  return demand;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::optional<boost::json::value> parsed = parse_json_exactly(json, 32);
  if (!parsed.has_value() || !parsed->is_array()) return 0;
  boost::json::value& value = *parsed;
  // Requests are checked before their grammar is made.
  if (!complaint_about_tools(value).empty()) return 0;
  const AnswerDemand demand = demand_of(data[0], value.get_array());
  DS_CHECK(key_of(demand) == key_of(demand_of(data[0], value.get_array())));
  const auto grammar = compile_answer_grammar(demand, nullptr, nullptr);
  DS_CHECK(grammar.ok() ? *grammar != nullptr : !grammar.status().message().empty());
  return 0;
}
