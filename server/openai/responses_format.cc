#include <utility>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/base/json_text.h"
#include "server/openai/responses_api.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

class ResponsesFormat final : public TurnFormat {
 public:
  ResponsesFormat(const ServedModel& model, json::object echoed)
      : model_(model), echoed_(std::move(echoed)) {}

  void begin(const Turn& turn, std::string* out) override {
    for (const char* type : {"response.created", "response.in_progress"}) {
      event(type, {{"response", response(turn, "in_progress", false)}}, out);
    }
  }

  void begin_block(const Turn& turn, size_t place, std::string* out) override {
    const TurnBlock empty{turn.blocks[place].kind, "", turn.blocks[place].call_id,
                          turn.blocks[place].name};
    json::object added = item(turn, empty, place, "in_progress");
    if (empty.kind != TurnBlock::Kind::kCall) added["content"] = json::array();
    event("response.output_item.added", {{"output_index", place}, {"item", std::move(added)}}, out);
    if (empty.kind == TurnBlock::Kind::kCall) return;
    event_inside(turn, place, "response.content_part.added", {{"part", part(empty)}}, out);
  }

  void grow_block(const Turn& turn, size_t place, std::string_view piece,
                  std::string* out) override {
    event_inside(turn, place, delta_name(turn.blocks[place].kind), {{"delta", piece}}, out);
  }

  void end_block(const Turn& turn, size_t place, std::string* out) override {
    const TurnBlock& block = turn.blocks[place];
    switch (block.kind) {
      case TurnBlock::Kind::kText:
        event_inside(turn, place, "response.output_text.done", {{"text", block.text}}, out);
        break;
      case TurnBlock::Kind::kReasoning:
        event_inside(turn, place, "response.reasoning_text.done", {{"text", block.text}}, out);
        break;
      case TurnBlock::Kind::kCall:
        event_inside(turn, place, "response.function_call_arguments.done",
                     {{"name", block.name}, {"arguments", block.text}}, out);
        break;
    }
    if (block.kind != TurnBlock::Kind::kCall) {
      event_inside(turn, place, "response.content_part.done", {{"part", part(block)}}, out);
    }
    event("response.output_item.done",
          {{"output_index", place}, {"item", item(turn, block, place, status(turn))}}, out);
  }

  void end(const Turn& turn, std::string* out) override {
    event(str_cat("response.", status(turn)), {{"response", response(turn, status(turn), true)}},
          out);
  }

  void fail(const Turn& turn, const ApiError& error, std::string* out) override {
    json::object failed = response(turn, "failed", true);
    failed["error"] = {{"code", "server_error"}, {"message", error.message}};
    event("response.failed", {{"response", std::move(failed)}}, out);
  }

  std::string whole(const Turn& turn) override {
    return exact_json(response(turn, status(turn), true));
  }

 private:
  static const char* status(const Turn& turn) {
    return turn.finish == FinishReason::kLength ? "incomplete" : "completed";
  }

  static const char* delta_name(TurnBlock::Kind kind) {
    switch (kind) {
      case TurnBlock::Kind::kText: return "response.output_text.delta";
      case TurnBlock::Kind::kReasoning: return "response.reasoning_text.delta";
      case TurnBlock::Kind::kCall: break;
    }
    return "response.function_call_arguments.delta";
  }

  void event(std::string_view type, json::object members, std::string* out) {
    json::object data = {{"type", type}, {"sequence_number", sequence_++}};
    for (auto& [name, value] : members) data[name] = std::move(value);
    out->append(str_cat("event: ", type, "\ndata: ", exact_json(data), "\n\n"));
  }

  // Appends an event about the content of a block.
  void event_inside(const Turn& turn, size_t place, std::string_view type, json::object members,
                    std::string* out) {
    members["item_id"] = item_id(turn, place);
    members["output_index"] = place;
    if (turn.blocks[place].kind != TurnBlock::Kind::kCall) members["content_index"] = 0;
    if (turn.blocks[place].kind == TurnBlock::Kind::kText && !members.contains("part")) {
      members["logprobs"] = json::array();
    }
    event(type, std::move(members), out);
  }

  static std::string item_id(const Turn& turn, size_t place) {
    const TurnBlock::Kind kind = turn.blocks[place].kind;
    const char* prefix = kind == TurnBlock::Kind::kText        ? "msg_"
                         : kind == TurnBlock::Kind::kReasoning ? "rs_"
                                                               : "fc_";
    return str_cat(prefix, turn.id.substr(turn.id.find('_') + 1), "_", place);
  }

  static json::object part(const TurnBlock& block) {
    if (block.kind == TurnBlock::Kind::kReasoning) {
      return {{"type", "reasoning_text"}, {"text", block.text}};
    }
    return {{"type", "output_text"},
            {"text", block.text},
            {"annotations", json::array()},
            {"logprobs", json::array()}};
  }

  static json::object item(const Turn& turn, const TurnBlock& block, size_t place,
                           const char* status) {
    json::object out = {{"id", item_id(turn, place)}, {"status", status}};
    switch (block.kind) {
      case TurnBlock::Kind::kText:
        out["type"] = "message";
        out["role"] = "assistant";
        out["content"] = json::array{part(block)};
        break;
      case TurnBlock::Kind::kReasoning:
        out["type"] = "reasoning";
        out["summary"] = json::array();
        out["content"] = json::array{part(block)};
        out["encrypted_content"] = nullptr;
        break;
      case TurnBlock::Kind::kCall:
        out["type"] = "function_call";
        out["call_id"] = block.call_id;
        out["name"] = block.name;
        out["arguments"] = block.text;
        break;
    }
    return out;
  }

  // With `ended` it has the output and the usage.
  json::object response(const Turn& turn, const char* status, bool ended) const {
    json::object out = {{"id", turn.id},
                        {"object", "response"},
                        {"created_at", turn.created},
                        {"status", status},
                        {"model", model_.name},
                        {"system_fingerprint", model_.fingerprint},
                        {"background", false},
                        {"error", nullptr},
                        {"incomplete_details", nullptr},
                        {"max_tool_calls", nullptr},
                        {"previous_response_id", nullptr},
                        {"service_tier", "default"},
                        {"store", false},
                        {"top_logprobs", 0},
                        {"usage", nullptr}};
    for (const auto& [name, value] : echoed_) out[name] = value;
    json::array output;
    if (ended) {
      for (size_t i = 0; i < turn.blocks.size(); ++i) {
        const bool is_last = i + 1 == turn.blocks.size();
        output.push_back(item(turn, turn.blocks[i], i, is_last ? status : "completed"));
      }
      out["usage"] = usage(turn);
    }
    out["output"] = std::move(output);
    if (turn.finish == FinishReason::kLength && ended) {
      out["incomplete_details"] = {{"reason", "max_output_tokens"}};
    }
    return out;
  }

  static json::object usage(const Turn& turn) {
    const Usage& usage = turn.usage;
    return {{"input_tokens", usage.prompt_tokens},
            {"input_tokens_details", {{"cached_tokens", usage.cached_prompt_tokens}}},
            {"output_tokens", usage.completion_tokens},
            {"output_tokens_details", {{"reasoning_tokens", turn.usage.reasoning_tokens}}},
            {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  }

  const ServedModel& model_;
  const json::object echoed_;
  int64_t sequence_ = 0;  // of the next event
};

}  // namespace

std::unique_ptr<TurnFormat> make_responses_format(const ServedModel& model, json::object echoed) {
  return std::make_unique<ResponsesFormat>(model, std::move(echoed));
}

}  // namespace deltaserve
