#include "server/service/generation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "models/base/cancellation.h"
#include "models/base/text.h"
#include "server/base/random.h"
#include "server/service/structured_output.h"

namespace deltaserve {
namespace {

std::string_view operation_name(Interface interface) {
  switch (interface) {
    case Interface::kChat:
    case Interface::kGrpcChat: return "chat";
    case Interface::kEmbeddings:
    case Interface::kGrpcEmbed: return "embeddings";
    default: return "text_completion";
  }
}

void add_sampling(const GenerateRequest& generate, RequestSpan* span) {
  const SamplingParams& sampling = generate.sampling;
  span->add("gen_ai.request.max_tokens", generate.max_tokens);
  span->add("gen_ai.request.temperature", double{sampling.temperature});
  span->add("gen_ai.request.top_p", double{sampling.top_p});
  if (sampling.top_k > 0) span->add("gen_ai.request.top_k", int64_t{sampling.top_k});
  span->add("gen_ai.request.frequency_penalty", double{sampling.frequency_penalty});
  span->add("gen_ai.request.presence_penalty", double{sampling.presence_penalty});
  if (!generate.stop.empty()) span->add("gen_ai.request.stop_sequences", generate.stop);
}

// Returns the error of a choice that ended for another reason than stop or length.
std::optional<ApiError> error_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kDeadline: return deadline_error();
    case FinishReason::kCancelled: return shutting_down_error();
    case FinishReason::kError:
      return server_error("the model failed to compute a step of this request");
    case FinishReason::kUnread: return unread_error();
    case FinishReason::kNotFinite:
      return server_error("the model computed numbers that are not finite for this request");
    default: return std::nullopt;
  }
}

// Moves reasoning from the deltas to `held`, and back as one delta once something else follows it.
void hold_reasoning(bool ended, std::string* held, std::vector<AnswerDelta>* deltas) {
  std::vector<AnswerDelta> out;
  const auto release = [&] {
    append_delta({AnswerDelta::Kind::kReasoning, std::exchange(*held, {})}, &out);
  };
  for (AnswerDelta& delta : *deltas) {
    if (delta.kind == AnswerDelta::Kind::kReasoning) {
      held->append(delta.text);
      continue;
    }
    release();
    append_delta(std::move(delta), &out);
  }
  if (ended) release();
  *deltas = std::move(out);
}

}  // namespace

Generation::Generation(Services& services, GenerationRequest request, Arrival arrival)
    : services_(services),
      request_(std::move(request)),
      arrival_(std::move(arrival)),
      reply_lease_(&services.budget, arrival_.owner) {}

Generation::~Generation() {
  cancel_choices();
}

void Generation::cancel_choices() {
  for (const Choice& choice : choices_) {
    if (!choice.ended) choice.stream->cancel();
  }
}

std::optional<ApiError> Generation::encode() {
  Cancellation late;
  late.set_deadline(deadline());
  const CancellationScope scope(&late);
  return encode_prompts(services_.model, services_.limits, &request_, &encoded_);
}

bool Generation::must_compile() const {
  const std::optional<StructuredOutput>& output = request_.parameters.structured;
  return deltaserve::must_compile(output ? &*output : nullptr, encoded_.demand.get(),
                                  services_.model);
}

std::optional<ApiError> Generation::make_constraint() {
  const std::optional<StructuredOutput>& output = request_.parameters.structured;
  absl::StatusOr<std::unique_ptr<TokenConstraint>> constraint =
      make_constraint_for(output ? &*output : nullptr, encoded_.demand.get(), services_.model);
  if (!constraint.ok()) {
    const absl::string_view message = constraint.status().message();
    const bool of_tools = !output || absl::StartsWith(message, "tools");
    return api_error_from(constraint.status(), of_tools ? "tools" : output->param);
  }
  request_.parameters.generate.constraint = *std::move(constraint);
  return std::nullopt;
}

SteadyTime Generation::deadline() const {
  if (!request_.parameters.deadline_ms) return arrival_.deadline;
  const std::chrono::milliseconds time(*request_.parameters.deadline_ms);
  return std::min(arrival_.deadline, arrival_.time + time);
}

std::optional<ApiError> Generation::submit(const std::function<void()>& notify) {
  GenerationParameters& parameters = request_.parameters;
  parameters.generate.deadline = deadline();
  if (std::optional<ApiError> error = make_constraint()) return error;
  parameters.generate.reuse.owner = arrival_.owner;
  parameters.generate.reuse.marks = std::move(encoded_.marks);
  begin_conversation();
  std::vector<std::string>().swap(request_.text_prompts);
  std::vector<std::vector<int32_t>> prompts = std::move(encoded_.ids);
  const std::shared_ptr<const AnswerRules> answer_rules = std::move(encoded_.answer_rules);
  encoded_ = {};
  std::vector<GenerateRequest> requests;
  std::vector<int64_t> prompt_tokens;
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompt_tokens.push_back(static_cast<int64_t>(prompts[i].size()));
    prompt_tokens_ += prompt_tokens.back();
    GenerateRequest& request = requests.emplace_back(parameters.generate.clone());
    request.id = prompts.size() == 1 ? arrival_.id : str_cat(arrival_.id, "-", i);
    request.prompt = std::move(prompts[i]);
    // With a given seed a prompt has the same draws alone and in a list; without one, equal prompts
    // of a list must have different draws.
    request.sampling.seed = parameters.seed.has_value() ? *parameters.seed : random_bits();
  }
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> streams =
      services_.engine.submit_list(std::move(requests), parameters.n, notify);
  if (!streams.ok()) {
    if (absl::IsResourceExhausted(streams.status())) services_.metrics.queue_full.add();
    return api_error_from(streams.status(), "");
  }
  choices_.reserve(streams->size());
  for (std::shared_ptr<TokenStream>& stream : *streams) {
    choices_.push_back({std::move(stream), RequestMetrics(&services_.metrics, arrival_.time)});
  }
  for (size_t i = 0; i < prompt_tokens.size(); ++i) {
    services_.metrics.max_tokens.observe(static_cast<double>(parameters.generate.max_tokens));
    services_.metrics.choices.observe(parameters.n);
    choices_[i * static_cast<size_t>(parameters.n)].prompt_tokens = prompt_tokens[i];
  }
  if (answer_rules != nullptr) {
    holds_reasoning_ = !answer_rules->streams_reasoning;
    for (Choice& choice : choices_) choice.parser = std::make_unique<AnswerParser>(answer_rules);
  }
  running_ = choices_.size();
  parameters.generate.constraint.reset();
  constexpr uint64_t kBytesPerToken = 16;  // of a prompt: ids, keys of its beginnings
  request_bytes_ = arrival_.lease.bytes() + kBytesPerToken * static_cast<uint64_t>(prompt_tokens_);
  entry_ = services_.large_requests.add(request_bytes_, [this] {
    ended_for_memory_ = true;
    for (const Choice& choice : choices_) choice.stream->cancel();
  });
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
    follow(*update, &choice);
    if (error_) return std::nullopt;
    part.update = *std::move(update);
    parse(&choice, &part);
    if (running_ == 0) offer_read_ahead();
    return part;
  }
  return std::nullopt;
}

bool Generation::hold_reply(uint64_t bytes) {
  // Small answers are not counted; larger ones are counted in steps.
  const uint64_t step = services_.limits.large_body_bytes;
  const uint64_t counted = bytes > step ? (bytes + step - 1) / step * step : 0;
  if (counted == reply_lease_.bytes()) return true;
  if (!reply_lease_.resize_to(counted)) {
    services_.metrics.replies_too_large.add();
    error_ = reply_too_large_error();
    cancel_choices();
    return false;
  }
  entry_.set_bytes(request_bytes_ + counted);
  return true;
}

void Generation::follow(const TokenUpdate& update, Choice* choice) {
  choice->metrics.on_update(update);
  choice->generated_tokens = update.tokens_generated;
  choice->queue_seconds = update.queue_seconds;
  choice->reused_tokens = std::max(choice->reused_tokens, update.prompt_tokens_reused);
  if (conversation_) {
    std::vector<int32_t>& tokens = conversation_->answer_tokens;
    tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
  }
  if (update.finish == FinishReason::kNone) return;
  choice->ended = true;
  --running_;
  error_ = error_of(update.finish);
  if (update.finish == FinishReason::kCancelled && ended_for_memory_) {
    error_ = out_of_memory_error();
  }
}

void Generation::parse(Choice* choice, Part* part) {
  const TokenUpdate& update = part->update;
  if (choice->parser == nullptr) {
    append_delta({AnswerDelta::Kind::kContent, update.text}, &part->deltas);
  } else {
    choice->parser->append(update.text, update.controls, &part->deltas);
    if (update.finish != FinishReason::kNone) {
      const bool cut = update.finish == FinishReason::kLength || !update.stop_string.empty();
      choice->parser->finish(cut, &part->deltas);
    }
    const bool ended = update.finish != FinishReason::kNone;
    count_reasoning(*part, choice);
    if (holds_reasoning_) hold_reasoning(ended, &choice->held_reasoning, &part->deltas);
    part->stopped_for_calls =
        update.finish == FinishReason::kStop && choice->parser->finishes_for_calls();
  }
  if (conversation_) conversation_->answer.add(part->deltas);
}

// Several tokens may come at a time, and not all may be reasoning. So the text is encoded again at
// the end, and the number does not depend on how the tokens came.
void Generation::count_reasoning(const Part& part, Choice* choice) const {
  for (const AnswerDelta& delta : part.deltas) {
    if (delta.kind == AnswerDelta::Kind::kReasoning) choice->reasoning.append(delta.text);
  }
  const Tokenizer* const tokenizer = services_.model.tokenizer;
  if (part.update.finish == FinishReason::kNone || choice->reasoning.empty()) return;
  const std::string reasoning = std::exchange(choice->reasoning, {});
  if (tokenizer == nullptr) return;
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer->encode_as_text(reasoning);
  const auto count = static_cast<int64_t>(ids.ok() ? ids->size() : 0);
  choice->reasoning_tokens = std::min(count, choice->generated_tokens);
}

// Keeps the prompt of a request if a later prompt may begin with it and its answer. A prompt that
// is scored is not the beginning of a conversation.
void Generation::begin_conversation() {
  const GenerationParameters& parameters = request_.parameters;
  const GenerateRequest& generate = parameters.generate;
  if (services_.model.snapshots == 0 || encoded_.ids.size() != 1 || parameters.n != 1) return;
  if (generate.max_tokens == 0 || generate.prompt_logprobs >= 0 || encoded_.truncated) return;
  conversation_.emplace();
  conversation_->prompt = encoded_.ids.front();
  conversation_->chat = std::move(encoded_.chat);
  if (!request_.text_prompts.empty()) {
    conversation_->text = std::move(request_.text_prompts.front());
    conversation_->special_tokens = request_.parameters.add_special_tokens;
    conversation_->split_special_tokens = request_.parameters.split_special_tokens;
  }
}

void Generation::offer_read_ahead() {
  if (!conversation_) return;
  ReadAhead read_ahead;
  read_ahead.id = str_cat(arrival_.id, "-read-ahead");
  read_ahead.reuse.owner = arrival_.owner;
  read_ahead.reuse.salt = request_.parameters.generate.reuse.salt;
  read_ahead.conversation = *std::move(conversation_);
  conversation_.reset();
  services_.read_aheads.offer(std::move(read_ahead));
}

Usage Generation::usage() const {
  Usage usage;
  usage.prompt_tokens = prompt_tokens_;
  for (const Choice& choice : choices_) {
    usage.completion_tokens += choice.generated_tokens;
    usage.reasoning_tokens += choice.reasoning_tokens;
    if (choice.prompt_tokens > 0) usage.cached_prompt_tokens += choice.reused_tokens;
  }
  return usage;
}

Timings Generation::timings() const {
  Timings timings;
  std::optional<double>& first = timings.time_to_first_token;
  for (const Choice& choice : choices_) {
    const double seconds = choice.metrics.time_to_first_token();
    if (seconds >= 0) first = std::min(first.value_or(seconds), seconds);
    if (choice.generated_tokens > 1 && choice.metrics.finish() != FinishReason::kNone) {
      timings.decode = std::max(timings.decode.value_or(0), choice.metrics.decode_time());
    }
  }
  return timings;
}

void Generation::describe(LogFields* fields) const {
  double queue = 0;
  std::string reasons;
  for (const Choice& choice : choices_) {
    queue = std::max(queue, choice.queue_seconds);
    if (!reasons.empty()) reasons.push_back(',');
    const FinishReason reason = choice.metrics.finish();
    reasons.append(
        finish_reason_name(reason == FinishReason::kNone ? FinishReason::kCancelled : reason));
  }
  const Usage total = usage();
  fields->integer("prompt_tokens", total.prompt_tokens)
      .integer("cached_prompt_tokens", total.cached_prompt_tokens)
      .integer("generated_tokens", total.completion_tokens)
      .seconds_as_ms("queue_ms", queue);
  const std::optional<double> first_token = timings().time_to_first_token;
  if (first_token) fields->seconds_as_ms("first_token_ms", *first_token);
  fields->text("finish", reasons);
  if (!request_.parameters.user.empty()) fields->text("user", request_.parameters.user);
  if (!request_.parameters.metadata.empty()) {
    fields->json("metadata", request_.parameters.metadata);
  }
}

void Generation::describe(RequestSpan* span) const {
  const std::string& model = services_.model.name;
  const std::string operation(operation_name(request_.interface));
  span->name = str_cat(operation, " ", model);
  span->add("gen_ai.operation.name", operation);
  span->add("gen_ai.provider.name", "deltaserve");
  span->add("gen_ai.request.model", model);
  span->add("gen_ai.response.model", model);
  span->add("gen_ai.response.id", arrival_.id);
  const GenerationParameters& parameters = request_.parameters;
  if (answers_with_tokens(request_.interface)) add_sampling(parameters.generate, span);
  if (parameters.seed) span->add("gen_ai.request.seed", static_cast<int64_t>(*parameters.seed));
  if (parameters.n > 1) span->add("gen_ai.request.choice.count", int64_t{parameters.n});
  const Usage total = usage();
  span->add("gen_ai.usage.input_tokens", total.prompt_tokens);
  span->add("gen_ai.usage.output_tokens", total.completion_tokens);
  span->add("gen_ai.usage.cache_read.input_tokens", total.cached_prompt_tokens);
  std::vector<std::string> reasons;
  for (const Choice& choice : choices_) {
    reasons.emplace_back(finish_reason_name(choice.metrics.finish()));
  }
  if (!reasons.empty()) span->add("gen_ai.response.finish_reasons", std::move(reasons));
}

}  // namespace deltaserve
