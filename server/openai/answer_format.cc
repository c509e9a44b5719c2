#include "server/openai/answer_format.h"

#include <utility>

#include "server/openai/chat_api.h"
#include "server/openai/completions_api.h"

namespace deltaserve {
namespace {

class CompletionsFormat final : public AnswerFormat {
 public:
  std::optional<ApiError> parse(std::string_view json, const ServedModel& model,
                                const ServerLimits& limits,
                                GenerationRequest* request) const override {
    return parse_completion_request(json, model, limits, request);
  }
  std::string_view id_prefix() const override { return "cmpl"; }
  std::string_view object(bool) const override { return "text_completion"; }
  bool is_chat() const override { return false; }
  std::unique_ptr<LogprobsBuilder> logprobs() const override {
    return std::make_unique<CompletionLogprobs>();
  }
  void append_choice(std::string* out, const ChoicePart& choice) const override {
    deltaserve::append_choice(out, choice);
  }
  std::vector<std::string> chunks(StreamPart part) const override {
    std::string json;
    append_choice(&json, part.content);
    return {std::move(json)};
  }
};

class ChatFormat final : public AnswerFormat {
 public:
  std::optional<ApiError> parse(std::string_view json, const ServedModel& model,
                                const ServerLimits& limits,
                                GenerationRequest* request) const override {
    return parse_chat_request(json, model, limits, request);
  }
  std::string_view id_prefix() const override { return "chatcmpl"; }
  std::string_view object(bool stream) const override {
    return stream ? "chat.completion.chunk" : "chat.completion";
  }
  bool is_chat() const override { return true; }
  std::unique_ptr<LogprobsBuilder> logprobs() const override {
    return std::make_unique<ChatLogprobs>();
  }
  void append_choice(std::string* out, const ChoicePart& choice) const override {
    append_chat_choice(out, choice);
  }
  // The role, each delta and the end have a chunk of their own, as clients expect. The chunk of the
  // first delta also has the other members.
  std::vector<std::string> chunks(StreamPart part) const override {
    std::vector<std::string> out;
    const auto append = [&](const ChoicePart& choice, bool first) {
      append_chat_delta(&out.emplace_back(), choice, first);
    };
    ChoicePart rest;
    rest.index = part.content.index;
    if (part.first) append(rest, /*first=*/true);
    rest.finish = std::exchange(part.content.finish, FinishReason::kNone);
    rest.stop_reason = std::exchange(part.content.stop_reason, {});
    rest.stopped_for_calls = part.content.stopped_for_calls;
    const std::span<const AnswerDelta> deltas = std::exchange(part.content.deltas, {});
    for (const AnswerDelta& delta : deltas) {
      if (delta.kind == AnswerDelta::Kind::kCallEnd) continue;
      part.content.deltas = {&delta, 1};
      append(part.content, false);
      part.content = {.index = part.content.index};
    }
    const bool untold = !part.content.logprobs.empty() || !part.content.token_ids.empty();
    if (part.content.deltas.empty() && untold) append(part.content, false);
    if (part.ended) append(rest, false);
    return out;
  }
};

}  // namespace

const AnswerFormat& completions_format() {
  static const CompletionsFormat format;
  return format;
}

const AnswerFormat& chat_format() {
  static const ChatFormat format;
  return format;
}

}  // namespace deltaserve
