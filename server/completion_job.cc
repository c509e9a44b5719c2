#include "server/completion_job.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "models/text.h"
#include "server/chat_api.h"
#include "server/openai_api.h"
#include "server/random.h"
#include "server/sse.h"

namespace deltaserve {
namespace {

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::unique_ptr<LogprobsBuilder> logprobs_builder(Api api) {
  if (api == Api::kChat) return std::make_unique<ChatLogprobs>();
  return std::make_unique<CompletionLogprobs>();
}

}  // namespace

// The prompts of a request, ready for the engine.
struct CompletionJob::Input {
  std::vector<std::vector<int32_t>> prompts;
  bool echo = false;
  std::vector<std::string> texts;  // of the prompts; empty where ids were sent
};

// One answer. What is pending was taken from the engine and not yet sent.
struct CompletionJob::Choice {
  Choice(Metrics* metrics, SteadyTime arrival) : followed(metrics, arrival) {}

  std::shared_ptr<TokenStream> stream;
  RequestMetrics followed;
  int index = 0;
  int64_t prompt_tokens = 0;  // that this choice stands for: 0 for all but the first of a prompt
  int64_t generated_tokens = 0;
  double queue_seconds = 0;
  std::string text;                           // pending
  std::unique_ptr<LogprobsBuilder> logprobs;  // pending
  std::string token_ids;                      // pending
  std::string prompt_token_ids;               // pending until the first part
  FinishReason finish = FinishReason::kNone;
  std::string stop_reason;  // JSON
  bool opened = false;      // its first chunk was sent
  bool ended = false;

  bool has_pending() const { return !text.empty() || !logprobs->empty() || !token_ids.empty(); }
};

CompletionJob::CompletionJob(const CompletionContext& context, JobRequest request)
    : context_(context), request_(std::move(request)) {}

CompletionJob::~CompletionJob() {
  for (const Choice& choice : choices_) {
    if (choice.stream != nullptr && !choice.ended) choice.stream->cancel();
  }
}

std::variant<std::unique_ptr<CompletionJob>, ApiError> CompletionJob::start(
    const CompletionContext& context, JobRequest request, std::function<void()> notify) {
  const bool chat = request.api == Api::kChat;
  std::unique_ptr<CompletionJob> job(new CompletionJob(context, std::move(request)));
  Input input;
  if (std::optional<ApiError> error = job->read_body(&input)) return *std::move(error);
  const char* const object = !chat              ? "text_completion"
                             : job->streaming() ? "chat.completion.chunk"
                                                : "chat.completion";
  job->id_ =
      absl::StrFormat("%s-%016x%016x", chat ? "chatcmpl" : "cmpl", random_bits(), random_bits());
  job->prefix_ = reply_prefix(job->id_, object, unix_seconds(), context.model->name);
  if (std::optional<ApiError> error = job->submit(std::move(input), notify)) {
    return *std::move(error);
  }
  return job;
}

// Clears the body, which may be large, before the ids are made.
std::optional<ApiError> CompletionJob::read_body(Input* input) {
  const ServedModel& model = *context_.model;
  const ServerLimits& limits = *context_.limits;
  if (request_.api == Api::kCompletions) {
    CompletionRequest request;
    std::optional<ApiError> error =
        parse_completion_request(request_.body, model, limits, &request);
    std::string().swap(request_.body);
    if (!error) error = take_prompts(model, limits, &request, &input->prompts);
    input->echo = request.echo;
    input->texts = std::move(request.text_prompts);
    parameters_ = std::move(request.parameters);
    return error;
  }
  ChatRequest request;
  std::optional<ApiError> error = parse_chat_request(request_.body, model, limits, &request);
  std::string().swap(request_.body);
  if (error) return error;
  parameters_ = std::move(request.parameters);
  absl::StatusOr<std::vector<int32_t>> prompt = encode_chat(model, std::move(request.prompt));
  if (!prompt.ok()) return api_error_from(prompt.status(), "messages");
  if (prompt->empty()) return invalid_parameter("messages", "the chat template wrote no tokens");
  input->prompts.push_back(*std::move(prompt));
  return check_logprob_entries(parameters_, /*echo=*/false, limits, input->prompts);
}

std::optional<ApiError> CompletionJob::submit(Input input, const std::function<void()>& notify) {
  GenerateRequest& common = parameters_.generate;
  int64_t timeout_ms = parameters_.deadline_ms.value_or(0);
  if (request_.timeout_ms > 0 && (timeout_ms == 0 || request_.timeout_ms < timeout_ms)) {
    timeout_ms = request_.timeout_ms;
  }
  if (timeout_ms > 0) common.deadline = request_.arrival + std::chrono::milliseconds(timeout_ms);
  if (parameters_.structured.has_value()) {
    absl::StatusOr<std::unique_ptr<TokenConstraint>> constraint =
        make_constraint_for(*parameters_.structured, *context_.model);
    if (!constraint.ok()) {
      return api_error_from(constraint.status(), parameters_.structured->param);
    }
    common.constraint = *std::move(constraint);
  }
  choices_.reserve(input.prompts.size() * static_cast<size_t>(parameters_.n));
  for (size_t i = 0; i < input.prompts.size(); ++i) {
    const size_t first = choices_.size();
    for (int j = 0; j < parameters_.n; ++j) {
      choices_.emplace_back(context_.metrics, request_.arrival);
      open_choice(&choices_.back(), input, i);
    }
    GenerateRequest request = common.clone();
    request.id = input.prompts.size() == 1 ? id_ : absl::StrCat(id_, "-", i);
    request.prompt = std::move(input.prompts[i]);
    // A given seed means the same draws for a prompt alone and in a list; without one, equal
    // prompts of a list must differ.
    request.sampling.seed = parameters_.seed.has_value() ? *parameters_.seed : random_bits();
    absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> streams =
        context_.engine->submit_choices(std::move(request), parameters_.n, notify);
    // The destructor cancels the prompts before this one.
    if (!streams.ok()) return api_error_from(streams.status(), "");
    for (size_t j = 0; j < streams->size(); ++j) {
      choices_[first + j].stream = std::move((*streams)[j]);
    }
  }
  common.constraint.reset();
  return std::nullopt;
}

void CompletionJob::open_choice(Choice* choice, const Input& input, size_t prompt) {
  choice->index = static_cast<int>(choices_.size()) - 1;
  choice->logprobs = logprobs_builder(request_.api);
  const std::vector<int32_t>& ids = input.prompts[prompt];
  if (choice->index % parameters_.n == 0) choice->prompt_tokens = static_cast<int64_t>(ids.size());
  if (parameters_.return_token_ids) append_json_ids(&choice->prompt_token_ids, ids);
  if (input.echo) echo_prompt(choice, input, prompt);
}

void CompletionJob::echo_prompt(Choice* choice, const Input& input, size_t prompt) {
  const ServedModel& model = *context_.model;
  const std::vector<int32_t>& ids = input.prompts[prompt];
  if (!input.texts.empty()) {
    choice->text = input.texts[prompt];
  } else if (model.tokenizer != nullptr) {
    choice->text = model.tokenizer->decode(ids);
  }
  if (parameters_.generate.prompt_logprobs < 0) return;
  auto logprobs = std::make_unique<CompletionLogprobs>();
  if (model.tokenizer != nullptr) {
    // A tokenizer may put a space in front of a text. Offsets are those of the text.
    size_t bytes = 0;
    for (const int32_t id : ids) bytes += model.tokenizer->vocabulary().bytes(id).size();
    if (bytes > choice->text.size()) logprobs->set_skip(1);
  }
  TokenLogprob first;
  first.token = ids.front();
  logprobs->add(model, first, /*known=*/false);
  choice->logprobs = std::move(logprobs);
}

void CompletionJob::absorb(Choice* choice, TokenUpdate update) {
  const ServedModel& model = *context_.model;
  choice->followed.on_update(update);
  choice->text.append(update.text);
  for (const TokenLogprob& token : update.prompt_logprobs) {
    choice->logprobs->add(model, token, /*known=*/true);
  }
  if (parameters_.generate.logprobs >= 0) {
    for (const TokenLogprob& token : update.logprobs) choice->logprobs->add(model, token, true);
  }
  if (parameters_.return_token_ids) append_json_ids(&choice->token_ids, update.tokens);
  choice->generated_tokens = update.tokens_generated;
  choice->finish = update.finish;
  choice->queue_seconds = update.queue_seconds;
  if (!update.stop_string.empty()) {
    append_json_string(&choice->stop_reason, update.stop_string);
  } else if (update.stop_token >= 0) {
    choice->stop_reason = absl::StrCat(update.stop_token);
  }
}

CompletionJob::State CompletionJob::poll(std::string* out) {
  bool running = false;
  for (Choice& choice : choices_) {
    if (choice.ended) continue;
    std::optional<TokenUpdate> update = choice.stream->take();
    if (update.has_value()) absorb(&choice, *std::move(update));
    choice.ended = choice.finish != FinishReason::kNone;
    const bool done =
        choice.finish == FinishReason::kStop || choice.finish == FinishReason::kLength;
    if (choice.ended && !done) return fail(choice.finish, out);
    if (parameters_.stream) append_events(&choice, out);
    running = running || !choice.ended;
  }
  if (running) return State::kRunning;
  parameters_.stream ? append_last_events(out) : append_reply(out);
  return State::kDone;
}

CompletionJob::State CompletionJob::fail(FinishReason reason, std::string* out) {
  error_ = reason == FinishReason::kDeadline ? deadline_error()
           : reason == FinishReason::kError
               ? server_error("the model failed to compute a step of this request")
               : unavailable_error("the server is shutting down");
  if (parameters_.stream) append_sse_event(out, error_json(error_));
  return State::kFailed;
}

// What is pending, which is then no more. The views point into `storage`.
ChoicePart CompletionJob::take_part(Choice* choice, std::vector<std::string>* storage) {
  storage->clear();
  storage->reserve(4);
  const auto keep = [&](std::string text) -> std::string_view {
    storage->push_back(std::move(text));
    return storage->back();
  };
  ChoicePart part;
  part.index = choice->index;
  part.text = keep(std::exchange(choice->text, {}));
  const bool wanted = parameters_.generate.logprobs >= 0;
  if (wanted && !(parameters_.stream && choice->logprobs->empty())) {
    part.logprobs = keep(choice->logprobs->take());
  }
  if (parameters_.return_token_ids) {
    part.token_ids = keep(str_cat("[", std::exchange(choice->token_ids, {}), "]"));
    if (!choice->prompt_token_ids.empty()) {
      part.prompt_token_ids = keep(str_cat("[", std::exchange(choice->prompt_token_ids, {}), "]"));
    }
  }
  part.finish = choice->finish;
  part.stop_reason = choice->stop_reason;
  return part;
}

void CompletionJob::append_events(Choice* choice, std::string* out) {
  if (!choice->has_pending() && !choice->ended) return;
  if (request_.api == Api::kChat) return append_chat_events(choice, out);
  std::vector<std::string> storage;
  std::string json;
  append_choice(&json, take_part(choice, &storage));
  append_chunk(json, out);
}

// The role, what was said, the end: each in a chunk of its own, as clients expect them.
void CompletionJob::append_chat_events(Choice* choice, std::string* out) {
  const auto append = [&](const ChoicePart& part, bool first) {
    std::string json;
    append_chat_delta(&json, part, first);
    append_chunk(json, out);
  };
  const bool pending = choice->has_pending();
  std::vector<std::string> storage;
  ChoicePart content = take_part(choice, &storage);
  ChoicePart rest;
  rest.index = content.index;
  if (!std::exchange(choice->opened, true)) {
    rest.prompt_token_ids = std::exchange(content.prompt_token_ids, {});
    append(rest, /*first=*/true);
    rest.prompt_token_ids = {};
  }
  rest.finish = std::exchange(content.finish, FinishReason::kNone);
  rest.stop_reason = std::exchange(content.stop_reason, {});
  if (pending) append(content, false);
  if (choice->ended) append(rest, false);
}

void CompletionJob::append_chunk(std::string_view choice, std::string* out) {
  std::string json = str_cat(prefix_, choice, "]");
  if (parameters_.continuous_usage_stats) {
    json.append(",\"usage\":");
    append_usage(&json, usage());
  } else if (parameters_.include_usage) {
    json.append(",\"usage\":null");
  }
  json.push_back('}');
  append_sse_event(out, json);
}

void CompletionJob::append_last_events(std::string* out) {
  if (parameters_.include_usage) {
    std::string json = prefix_ + "],\"usage\":";
    append_usage(&json, usage());
    json.push_back('}');
    append_sse_event(out, json);
  }
  out->append(kSseDone);
}

void CompletionJob::append_reply(std::string* out) {
  out->append(prefix_);
  std::vector<std::string> storage;
  for (Choice& choice : choices_) {
    if (choice.index > 0) out->push_back(',');
    const ChoicePart part = take_part(&choice, &storage);
    request_.api == Api::kChat ? append_chat_choice(out, part) : append_choice(out, part);
  }
  out->append("],\"usage\":");
  append_usage(out, usage());
  out->push_back('}');
}

Usage CompletionJob::usage() const {
  Usage usage;
  for (const Choice& choice : choices_) {
    usage.prompt_tokens += choice.prompt_tokens;
    usage.completion_tokens += choice.generated_tokens;
  }
  return usage;
}

void CompletionJob::describe(LogFields* fields) const {
  double queue = 0, first_token = -1;
  std::string reasons;
  for (const Choice& choice : choices_) {
    queue = std::max(queue, choice.queue_seconds);
    const double seconds = choice.followed.time_to_first_token();
    if (seconds >= 0 && (first_token < 0 || seconds < first_token)) first_token = seconds;
    if (!reasons.empty()) reasons.push_back(',');
    reasons.append(choice.ended ? finish_reason_name(choice.finish) : "cancelled");
  }
  const Usage total = usage();
  fields->text("completion_id", id_)
      .integer("prompt_tokens", total.prompt_tokens)
      .integer("generated_tokens", total.completion_tokens)
      .seconds_as_ms("queue_ms", queue);
  if (first_token >= 0) fields->seconds_as_ms("first_token_ms", first_token);
  fields->text("finish", reasons);
  if (!parameters_.user.empty()) fields->text("user", parameters_.user);
  if (!parameters_.metadata.empty()) fields->json("metadata", parameters_.metadata);
}

}  // namespace deltaserve
