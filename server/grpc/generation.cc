#include "server/grpc/generation.h"

#include <algorithm>
#include <utility>

namespace deltaserve {
namespace {

// Of a choice that ended otherwise than by stop or length.
grpc::Status status_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kDeadline:
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "the call's deadline passed"};
    case FinishReason::kCancelled:
      return {grpc::StatusCode::UNAVAILABLE, "the server is shutting down"};
    case FinishReason::kError:
      return {grpc::StatusCode::INTERNAL, "the model failed to compute a step of this request"};
    default: return grpc::Status::OK;
  }
}

}  // namespace

Generation::Generation(const GrpcContext& context,
                       std::vector<std::shared_ptr<TokenStream>> streams,
                       std::chrono::steady_clock::time_point arrival)
    : context_(context), running_(streams.size()) {
  choices_.reserve(streams.size());
  for (std::shared_ptr<TokenStream>& stream : streams) {
    choices_.push_back({std::move(stream), RequestMetrics(context.metrics, arrival)});
  }
}

Generation::~Generation() {
  for (const Choice& choice : choices_) {
    if (!choice.ended) choice.stream->cancel();
  }
}

void Generation::describe(int64_t prompt_tokens, std::string user) {
  prompt_tokens_ = prompt_tokens;
  user_ = std::move(user);
}

Generation::Next Generation::next(v1::GenerateResponse* response) {
  for (size_t tried = 0; tried < choices_.size(); ++tried) {
    const size_t index = next_choice_++ % choices_.size();
    Choice& choice = choices_[index];
    if (choice.ended || (!choice.pending && !take(&choice))) {
      if (!status_.ok()) return Next::kFailed;
      continue;
    }
    const bool whole =
        next_response(context_.model, static_cast<int32_t>(index),
                      context_.limits.logprob_entries_per_message, &*choice.pending, response);
    if (!whole) return Next::kMessage;
    choice.ended = choice.pending->update.finish != FinishReason::kNone;
    choice.pending.reset();
    if (!choice.ended || --running_ > 0) return Next::kMessage;
    fill_usage(response->mutable_usage());
    return Next::kLastMessage;
  }
  return Next::kNothing;
}

// False: there is nothing, or status_ says what went wrong.
bool Generation::take(Choice* choice) {
  std::optional<TokenUpdate> update = choice->stream->take();
  if (!update) return false;
  choice->metrics.on_update(*update);
  choice->generated_tokens = update->tokens_generated;
  choice->queue_seconds = update->queue_seconds;
  status_ = status_of(update->finish);
  if (!status_.ok()) {
    choice->ended = true;
    return false;
  }
  choice->pending = PendingUpdate{*std::move(update), 0};
  return true;
}

int64_t Generation::generated_tokens() const {
  int64_t generated = 0;
  for (const Choice& choice : choices_) generated += choice.generated_tokens;
  return generated;
}

void Generation::fill_usage(v1::Usage* usage) const {
  const int64_t generated = generated_tokens();
  usage->set_prompt_tokens(prompt_tokens_);
  usage->set_completion_tokens(generated);
  usage->set_total_tokens(prompt_tokens_ + generated);
}

LogFields Generation::details() const {
  double queue = 0, first_token = -1;
  std::string reasons;
  for (const Choice& choice : choices_) {
    queue = std::max(queue, choice.queue_seconds);
    const double seconds = choice.metrics.time_to_first_token();
    if (seconds >= 0 && (first_token < 0 || seconds < first_token)) first_token = seconds;
    const FinishReason reason = choice.metrics.finish();
    reasons.append(reasons.empty() ? "" : ",");
    reasons.append(
        finish_reason_name(reason == FinishReason::kNone ? FinishReason::kCancelled : reason));
  }
  LogFields fields;
  fields.integer("prompt_tokens", prompt_tokens_)
      .integer("generated_tokens", generated_tokens())
      .seconds_as_ms("queue_ms", queue);
  if (first_token >= 0) fields.seconds_as_ms("first_token_ms", first_token);
  fields.text("finish", reasons);
  if (!user_.empty()) fields.text("user", user_);
  return fields;
}

}  // namespace deltaserve
