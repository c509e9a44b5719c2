#include "server/tools/answer_delta.h"

#include <utility>

namespace deltaserve {

void append_delta(AnswerDelta delta, std::vector<AnswerDelta>* deltas) {
  using Kind = AnswerDelta::Kind;
  const bool is_text = delta.kind != Kind::kCallBegin && delta.kind != Kind::kCallEnd;
  if (is_text && delta.text.empty()) return;
  AnswerDelta* const last = deltas->empty() ? nullptr : &deltas->back();
  if (is_text && last != nullptr && last->kind == delta.kind && last->call == delta.call) {
    last->text += delta.text;
  } else {
    deltas->push_back(std::move(delta));
  }
}

void ParsedAnswer::add(std::span<const AnswerDelta> deltas) {
  for (const AnswerDelta& delta : deltas) {
    switch (delta.kind) {
      case AnswerDelta::Kind::kContent: content += delta.text; break;
      case AnswerDelta::Kind::kReasoning: reasoning += delta.text; break;
      case AnswerDelta::Kind::kCallBegin: calls.push_back({delta.id, delta.text, ""}); break;
      case AnswerDelta::Kind::kArguments: calls.back().arguments += delta.text; break;
      case AnswerDelta::Kind::kCallEnd: break;
    }
  }
}

size_t ParsedAnswer::bytes() const {
  size_t bytes = content.size() + reasoning.size();
  for (const ToolCall& call : calls) {
    bytes += call.id.size() + call.name.size() + call.arguments.size();
  }
  return bytes;
}

}  // namespace deltaserve
