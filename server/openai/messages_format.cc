#include <boost/json/array.hpp>
#include <optional>
#include <utility>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/openai/messages_api.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

class MessagesFormat final : public TurnFormat {
 public:
  explicit MessagesFormat(const ServedModel& model) : model_(model) {}

  void begin(const Turn& turn, std::string* out) override {
    Turn empty{turn.id, turn.created};
    empty.usage = turn.usage;
    empty.usage.completion_tokens = 0;
    event("message_start", {{"message", message(empty)}}, out);
    event("ping", {}, out);
  }

  void begin_block(const Turn& turn, size_t place, std::string* out) override {
    TurnBlock empty = turn.blocks[place];
    empty.text.clear();
    event("content_block_start", {{"index", place}, {"content_block", content(empty)}}, out);
  }

  void grow_block(const Turn& turn, size_t place, std::string_view piece,
                  std::string* out) override {
    json::object delta;
    switch (turn.blocks[place].kind) {
      case TurnBlock::Kind::kText: delta = {{"type", "text_delta"}, {"text", piece}}; break;
      case TurnBlock::Kind::kReasoning:
        delta = {{"type", "thinking_delta"}, {"thinking", piece}};
        break;
      case TurnBlock::Kind::kCall:
        delta = {{"type", "input_json_delta"}, {"partial_json", piece}};
        break;
    }
    event("content_block_delta", {{"index", place}, {"delta", std::move(delta)}}, out);
  }

  void end_block(const Turn&, size_t place, std::string* out) override {
    event("content_block_stop", {{"index", place}}, out);
  }

  void end(const Turn& turn, std::string* out) override {
    const json::object whole = message(turn);
    event(
        "message_delta",
        {{"delta",
          {{"stop_reason", whole.at("stop_reason")}, {"stop_sequence", whole.at("stop_sequence")}}},
         {"usage", whole.at("usage")}},
        out);
    event("message_stop", {}, out);
  }

  void fail(const Turn&, const ApiError& error, std::string* out) override {
    event("error", {{"error", {{"type", "api_error"}, {"message", error.message}}}}, out);
  }

  std::string whole(const Turn& turn) override { return exact_json(message(turn)); }

 private:
  static void event(std::string_view type, json::object members, std::string* out) {
    json::object data = {{"type", type}};
    for (auto& [name, value] : members) data[name] = std::move(value);
    out->append(str_cat("event: ", type, "\ndata: ", exact_json(data), "\n\n"));
  }

  static json::object content(const TurnBlock& block) {
    switch (block.kind) {
      case TurnBlock::Kind::kText: return {{"type", "text"}, {"text", block.text}};
      case TurnBlock::Kind::kReasoning:
        return {{"type", "thinking"}, {"thinking", block.text}, {"signature", ""}};
      case TurnBlock::Kind::kCall: break;
    }
    return {{"type", "tool_use"},
            {"id", block.call_id},
            {"name", block.name},
            {"input", input_of(block.text)}};
  }

  // If an answer was cut, its arguments may not be a complete object.
  static json::value input_of(const std::string& arguments) {
    constexpr size_t kMostDepth = 64;
    std::optional<json::value> input = parse_json_exactly(arguments, kMostDepth);
    return input.has_value() && is_json_object(*input) ? *std::move(input) : json::object();
  }

  static const char* stop_reason(const Turn& turn) {
    if (turn.finish == FinishReason::kLength) return "max_tokens";
    if (!turn.stop_string.empty()) return "stop_sequence";
    const bool calls = !turn.blocks.empty() && turn.blocks.back().kind == TurnBlock::Kind::kCall;
    return calls ? "tool_use" : "end_turn";
  }

  json::object message(const Turn& turn) const {
    json::array blocks;
    for (const TurnBlock& block : turn.blocks) {
      const bool says_nothing = block.kind == TurnBlock::Kind::kText && block.text.empty();
      if (!says_nothing) blocks.push_back(content(block));
    }
    json::object out = {{"id", turn.id},
                        {"type", "message"},
                        {"role", "assistant"},
                        {"model", model_.name},
                        {"content", std::move(blocks)},
                        {"stop_reason", nullptr},
                        {"stop_sequence", nullptr},
                        {"usage", usage(turn.usage)},
                        {"system_fingerprint", model_.fingerprint}};
    if (turn.finish != FinishReason::kNone) out["stop_reason"] = stop_reason(turn);
    if (!turn.stop_string.empty()) out["stop_sequence"] = turn.stop_string;
    return out;
  }

  // The API counts the cached tokens separately from the others.
  static json::object usage(const Usage& usage) {
    return {{"input_tokens", usage.prompt_tokens - usage.cached_prompt_tokens},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", usage.cached_prompt_tokens},
            {"output_tokens", usage.completion_tokens}};
  }

  const ServedModel& model_;
};

}  // namespace

std::unique_ptr<TurnFormat> make_messages_format(const ServedModel& model) {
  return std::make_unique<MessagesFormat>(model);
}

}  // namespace deltaserve
