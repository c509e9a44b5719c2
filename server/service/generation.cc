#include "server/service/generation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "models/base/text.h"
#include "server/base/random.h"
#include "server/service/structured_output.h"

namespace deltaserve {
namespace {

// Returns why a choice ended, otherwise than by stop or length.
std::optional<ApiError> error_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kDeadline: return deadline_error();
    case FinishReason::kCancelled: return shutting_down_error();
    case FinishReason::kError:
      return server_error("the model failed to compute a step of this request");
    default: return std::nullopt;
  }
}

}  // namespace

Generation::Generation(Services& services, GenerationRequest request, Arrival arrival)
    : services_(services), request_(std::move(request)), arrival_(std::move(arrival)) {}

Generation::~Generation() {
  for (const Choice& choice : choices_) {
    if (!choice.ended) choice.stream->cancel();
  }
}

std::optional<ApiError> Generation::encode() {
  return encode_prompts(services_.model, services_.limits, &request_, &prompts_);
}

std::optional<ApiError> Generation::make_constraint() {
  const std::optional<StructuredOutput>& output = request_.parameters.structured;
  if (!output) return std::nullopt;
  absl::StatusOr<std::unique_ptr<TokenConstraint>> constraint =
      make_constraint_for(*output, services_.model);
  if (!constraint.ok()) return api_error_from(constraint.status(), output->param);
  request_.parameters.generate.constraint = *std::move(constraint);
  return std::nullopt;
}

void Generation::set_deadline() {
  GenerateRequest& generate = request_.parameters.generate;
  generate.deadline = arrival_.deadline;
  if (!request_.parameters.deadline_ms) return;
  const std::chrono::milliseconds time(*request_.parameters.deadline_ms);
  generate.deadline = std::min(generate.deadline, arrival_.time + time);
}

std::optional<ApiError> Generation::submit(const std::function<void()>& notify) {
  GenerationParameters& parameters = request_.parameters;
  set_deadline();
  if (std::optional<ApiError> error = make_constraint()) return error;
  std::vector<std::string>().swap(request_.text_prompts);
  choices_.reserve(prompts_.size() * static_cast<size_t>(parameters.n));
  for (size_t i = 0; i < prompts_.size(); ++i) {
    prompt_tokens_ += static_cast<int64_t>(prompts_[i].size());
    GenerateRequest request = parameters.generate.clone();
    request.id = prompts_.size() == 1 ? arrival_.id : str_cat(arrival_.id, "-", i);
    request.prompt = std::move(prompts_[i]);
    // A given seed means the same draws for a prompt alone and in a list; without one, equal
    // prompts of a list must differ.
    request.sampling.seed = parameters.seed.has_value() ? *parameters.seed : random_bits();
    absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> streams =
        services_.engine.submit_choices(std::move(request), parameters.n, notify);
    if (!streams.ok()) {
      // The destructor cancels the prompts before this one.
      if (absl::IsResourceExhausted(streams.status())) services_.metrics.queue_full.add();
      return api_error_from(streams.status(), "");
    }
    for (std::shared_ptr<TokenStream>& stream : *streams) {
      choices_.push_back({std::move(stream), RequestMetrics(&services_.metrics, arrival_.time)});
    }
  }
  running_ = choices_.size();
  prompts_.clear();
  parameters.generate.constraint.reset();
  return std::nullopt;
}

std::optional<Generation::Part> Generation::next() {
  for (size_t asked = 0; asked < choices_.size() && !error_; ++asked) {
    Choice& choice = choices_[turn_];
    Part part{turn_, {}};
    turn_ = (turn_ + 1) % choices_.size();
    if (choice.ended) continue;
    std::optional<TokenUpdate> update = choice.stream->take();
    if (!update) continue;
    choice.metrics.on_update(*update);
    choice.generated_tokens = update->tokens_generated;
    choice.queue_seconds = update->queue_seconds;
    if (update->finish != FinishReason::kNone) {
      choice.ended = true;
      --running_;
      error_ = error_of(update->finish);
      if (error_) return std::nullopt;
    }
    part.update = *std::move(update);
    return part;
  }
  return std::nullopt;
}

Usage Generation::usage() const {
  Usage usage;
  usage.prompt_tokens = prompt_tokens_;
  for (const Choice& choice : choices_) usage.completion_tokens += choice.generated_tokens;
  return usage;
}

void Generation::describe(LogFields* fields) const {
  double queue = 0, first_token = -1;
  std::string reasons;
  for (const Choice& choice : choices_) {
    queue = std::max(queue, choice.queue_seconds);
    const double seconds = choice.metrics.time_to_first_token();
    if (seconds >= 0 && (first_token < 0 || seconds < first_token)) first_token = seconds;
    if (!reasons.empty()) reasons.push_back(',');
    const FinishReason reason = choice.metrics.finish();
    reasons.append(
        finish_reason_name(reason == FinishReason::kNone ? FinishReason::kCancelled : reason));
  }
  const Usage total = usage();
  fields->integer("prompt_tokens", total.prompt_tokens)
      .integer("generated_tokens", total.completion_tokens)
      .seconds_as_ms("queue_ms", queue);
  if (first_token >= 0) fields->seconds_as_ms("first_token_ms", first_token);
  fields->text("finish", reasons);
  if (!request_.parameters.user.empty()) fields->text("user", request_.parameters.user);
  if (!request_.parameters.metadata.empty()) {
    fields->json("metadata", request_.parameters.metadata);
  }
}

}  // namespace deltaserve
