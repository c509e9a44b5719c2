#include "server/grpc/response_convert.h"

#include <string>
#include <string_view>
#include <utility>

namespace deltaserve {
namespace {

std::string token_bytes(const ServedModel& model, int32_t token) {
  if (model.tokenizer == nullptr) return {};
  return std::string(model.tokenizer->vocabulary().bytes(token));
}

void fill_logprob(const ServedModel& model, const TokenLogprob& logprob,
                  v1::TokenLogprob* message) {
  message->set_token_id(logprob.token);
  message->set_token(token_bytes(model, logprob.token));
  message->set_logprob(logprob.logprob);
  for (const auto& [token, value] : logprob.top) {
    v1::TokenLogprob::Alternative* top = message->add_top();
    top->set_token_id(token);
    top->set_token(token_bytes(model, token));
    top->set_logprob(value);
  }
}

v1::FinishReason finish_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return v1::FINISH_REASON_STOP;
    case FinishReason::kLength: return v1::FINISH_REASON_LENGTH;
    // The others end the call with a status.
    default: return v1::FINISH_REASON_UNSPECIFIED;
  }
}

// Fills what both streams tell. True: nothing is left but the text.
template <class Response>
bool fill_response(const ServedModel& model, int64_t max_entries, PendingPart* pending,
                   Response* response) {
  TokenUpdate& update = pending->part.update;
  response->Clear();
  response->set_index(static_cast<int32_t>(pending->part.choice));
  int64_t entries = 0;
  while (pending->prompt_logprobs_sent < update.prompt_logprobs.size()) {
    if (entries >= max_entries) return false;
    const TokenLogprob& logprob = update.prompt_logprobs[pending->prompt_logprobs_sent++];
    fill_logprob(model, logprob, response->add_prompt_logprobs());
    entries += 1 + static_cast<int64_t>(logprob.top.size());
  }
  response->mutable_token_ids()->Add(update.tokens.begin(), update.tokens.end());
  for (const TokenLogprob& logprob : update.logprobs) {
    fill_logprob(model, logprob, response->add_logprobs());
  }
  response->set_prompt_tokens_read(update.prompt_tokens_read);
  response->set_finish_reason(finish_reason(update.finish));
  if (!update.stop_string.empty()) {
    response->set_stop_string(update.stop_string);
  } else if (update.stop_token >= 0) {
    response->set_stop_token_id(update.stop_token);
  }
  return true;
}

// Returns the piece of a call that is being filled, or a new one.
v1::ChatDelta::ToolCall* piece_of_call(int call, v1::ChatDelta* delta) {
  const int size = delta->tool_calls_size();
  if (size > 0 && delta->tool_calls(size - 1).index() == call) {
    return delta->mutable_tool_calls(size - 1);
  }
  v1::ChatDelta::ToolCall* piece = delta->add_tool_calls();
  piece->set_index(call);
  return piece;
}

void fill_delta(AnswerDelta piece, v1::ChatDelta* delta) {
  switch (piece.kind) {
    case AnswerDelta::Kind::kContent: delta->mutable_content()->append(piece.text); break;
    case AnswerDelta::Kind::kReasoning:
      delta->mutable_reasoning_content()->append(piece.text);
      break;
    case AnswerDelta::Kind::kCallBegin: {
      v1::ChatDelta::ToolCall* call = piece_of_call(piece.call, delta);
      call->set_id(std::move(piece.id));
      call->set_type("function");
      call->mutable_function()->set_name(std::move(piece.text));
      break;
    }
    case AnswerDelta::Kind::kArguments:
      piece_of_call(piece.call, delta)->mutable_function()->mutable_arguments()->append(piece.text);
      break;
    case AnswerDelta::Kind::kCallEnd: break;
  }
}

}  // namespace

bool next_response(const ServedModel& model, int64_t max_entries, PendingPart* pending,
                   v1::GenerateResponse* response) {
  if (!fill_response(model, max_entries, pending, response)) return false;
  response->set_text(std::move(pending->part.update.text));
  return true;
}

bool next_response(const ServedModel& model, int64_t max_entries, PendingPart* pending,
                   v1::ChatResponse* response) {
  if (!fill_response(model, max_entries, pending, response)) return false;
  v1::ChatDelta* delta = response->mutable_delta();
  if (pending->first) delta->set_role("assistant");
  for (AnswerDelta& piece : pending->part.deltas) fill_delta(std::move(piece), delta);
  if (pending->part.stopped_for_calls) {
    response->set_finish_reason(v1::FINISH_REASON_TOOL_CALLS);
  }
  return true;
}

void fill_embeddings(const std::vector<std::vector<float>>& embeddings,
                     v1::EmbedResponse* response) {
  for (size_t i = 0; i < embeddings.size(); ++i) {
    v1::EmbedResponse::Embedding* one = response->add_data();
    one->set_index(static_cast<int32_t>(i));
    one->mutable_embedding()->Add(embeddings[i].begin(), embeddings[i].end());
  }
}

void fill_usage(const Usage& usage, v1::Usage* message) {
  message->set_prompt_tokens(usage.prompt_tokens);
  message->set_completion_tokens(usage.completion_tokens);
  message->set_total_tokens(usage.prompt_tokens + usage.completion_tokens);
  message->set_cached_prompt_tokens(usage.cached_prompt_tokens);
}

void fill_timings(const Timings& timings, v1::Timings* message) {
  if (timings.time_to_first_token) {
    message->set_time_to_first_token_ms(1e3 * *timings.time_to_first_token);
  }
  if (timings.decode) message->set_decode_ms(1e3 * *timings.decode);
}

void fill_model(const ServedModel& model, const ServerLimits& limits, const EngineStats& stats,
                v1::Model* message) {
  message->set_name(model.name);
  message->set_created(model.created);
  message->set_vocab_size(static_cast<int32_t>(model.vocab_size));
  message->set_has_tokenizer(model.tokenizer != nullptr);
  message->set_max_prompt_tokens(limits.prompt_tokens);
  message->set_max_tokens(limits.max_tokens);
  v1::EngineStatus* engine = message->mutable_engine();
  engine->set_slots(stats.slots);
  engine->set_running(stats.running);
  engine->set_waiting(stats.waiting);
  engine->set_prompt_tokens(stats.prompt_tokens);
  engine->set_generated_tokens(stats.generated_tokens);
  engine->set_finished(stats.finished);
  engine->set_cancelled(stats.cancelled);
}

}  // namespace deltaserve
