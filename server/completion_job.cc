#include "server/completion_job.h"

#include <chrono>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/sse.h"

namespace deltaserve {
namespace {

uint64_t random_bits() {
  thread_local std::random_device device;
  return uint64_t{device()} << 32 | device();
}

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

ApiError from_status(const absl::Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: return invalid_parameter("", message);
    case absl::StatusCode::kResourceExhausted:
      return {429, message, "rate_limit_error", "", "rate_limit_exceeded"};
    case absl::StatusCode::kUnavailable: return unavailable_error(message);
    default: return server_error(message);
  }
}

}  // namespace

// One prompt's answer. What is pending was taken from the engine and not yet sent.
struct CompletionJob::Choice {
  std::shared_ptr<TokenStream> stream;
  int index = 0;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  std::string text;              // pending
  LogprobsBuilder logprobs;      // pending
  std::string token_ids;         // pending
  std::string prompt_token_ids;  // pending until the first part
  FinishReason finish = FinishReason::kNone;
  std::string stop_reason;  // JSON
  bool ended = false;
};

CompletionJob::CompletionJob(const CompletionContext& context, MemoryBudget::Lease lease)
    : context_(context), lease_(std::move(lease)) {}

CompletionJob::~CompletionJob() {
  for (const Choice& choice : choices_) {
    if (choice.stream != nullptr && !choice.ended) choice.stream->cancel();
  }
}

std::variant<std::unique_ptr<CompletionJob>, ApiError> CompletionJob::start(
    const CompletionContext& context, std::string body, MemoryBudget::Lease lease,
    std::function<void()> notify) {
  std::unique_ptr<CompletionJob> job(new CompletionJob(context, std::move(lease)));
  std::vector<std::vector<int32_t>> prompts;
  std::optional<ApiError> error =
      parse_completion_request(body, *context.model, *context.limits, &job->request_);
  if (!error) {
    std::string().swap(body);  // before the ids are made
    error = take_prompts(*context.model, *context.limits, &job->request_, &prompts);
  }
  if (!error) {
    job->id_ = absl::StrFormat("cmpl-%016x%016x", random_bits(), random_bits());
    job->prefix_ = completion_prefix(job->id_, unix_seconds(), context.model->name);
    error = job->submit(std::move(prompts), notify);
  }
  if (error) return *std::move(error);
  return job;
}

std::optional<ApiError> CompletionJob::submit(std::vector<std::vector<int32_t>> prompts,
                                              const std::function<void()>& notify) {
  choices_.resize(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    Choice& choice = choices_[i];
    open_choice(&choice, static_cast<int>(i), prompts[i]);
    GenerateRequest request = request_.generate;
    request.id = prompts.size() == 1 ? id_ : absl::StrCat(id_, "-", i);
    request.prompt = std::move(prompts[i]);
    // A given seed means the same draws for a prompt alone and in a list; without one, equal
    // prompts of a list must differ.
    request.sampling.seed = request_.seed.has_value() ? *request_.seed : random_bits();
    absl::StatusOr<std::shared_ptr<TokenStream>> stream =
        context_.engine->submit(std::move(request), notify);
    if (!stream.ok()) return from_status(stream.status());  // the destructor cancels the others
    choice.stream = *std::move(stream);
  }
  request_.text_prompts.clear();
  request_.text_prompts.shrink_to_fit();
  return std::nullopt;
}

void CompletionJob::open_choice(Choice* choice, int index, const std::vector<int32_t>& prompt) {
  const ServedModel& model = *context_.model;
  choice->index = index;
  choice->prompt_tokens = static_cast<int64_t>(prompt.size());
  if (request_.return_token_ids) append_json_ids(&choice->prompt_token_ids, prompt);
  if (!request_.echo) return;
  if (!request_.text_prompts.empty()) {
    choice->text = std::move(request_.text_prompts[static_cast<size_t>(index)]);
  } else if (model.tokenizer != nullptr) {
    choice->text = model.tokenizer->decode(prompt);
  }
  if (request_.generate.prompt_logprobs < 0) return;
  if (model.tokenizer != nullptr) {
    // A tokenizer may put a space in front of a text. Offsets are those of the text.
    size_t bytes = 0;
    for (const int32_t id : prompt) bytes += model.tokenizer->vocabulary().bytes(id).size();
    if (bytes > choice->text.size()) choice->logprobs.set_skip(1);
  }
  TokenLogprob first;
  first.token = prompt.front();
  choice->logprobs.add(model, first, /*known=*/false);
}

void CompletionJob::absorb(Choice* choice, TokenUpdate update) {
  const ServedModel& model = *context_.model;
  choice->text.append(update.text);
  for (const TokenLogprob& token : update.prompt_logprobs) {
    choice->logprobs.add(model, token, /*known=*/true);
  }
  if (request_.generate.logprobs >= 0) {
    for (const TokenLogprob& token : update.logprobs) choice->logprobs.add(model, token, true);
  }
  if (request_.return_token_ids) append_json_ids(&choice->token_ids, update.tokens);
  choice->generated_tokens = update.tokens_generated;
  choice->finish = update.finish;
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
    if (choice.finish == FinishReason::kCancelled || choice.finish == FinishReason::kError) {
      return fail(choice.finish, out);
    }
    const bool pending = !choice.text.empty() || !choice.logprobs.empty() ||
                         !choice.token_ids.empty() || choice.ended;
    if (request_.stream && pending) append_event(&choice, out);
    running = running || !choice.ended;
  }
  if (running) return State::kRunning;
  request_.stream ? append_last_events(out) : append_reply(out);
  return State::kDone;
}

CompletionJob::State CompletionJob::fail(FinishReason reason, std::string* out) {
  error_ = reason == FinishReason::kError
               ? server_error("the model failed to compute a step of this request")
               : unavailable_error("the server is shutting down");
  if (request_.stream) append_sse_event(out, error_json(error_));
  return State::kFailed;
}

// Appends the choice with what is pending, which is then no more.
void CompletionJob::append_choice_part(Choice* choice, std::string* out) {
  std::string logprobs;
  const bool has_logprobs = request_.generate.logprobs >= 0;
  if (has_logprobs && !(request_.stream && choice->logprobs.empty())) {
    logprobs = choice->logprobs.take();
  }
  ChoicePart part;
  part.index = choice->index;
  part.text = choice->text;
  part.logprobs = logprobs;
  part.finish = choice->finish;
  part.stop_reason = choice->stop_reason;
  std::string ids, prompt_ids;
  if (request_.return_token_ids) {
    ids = absl::StrCat("[", choice->token_ids, "]");
    part.token_ids = ids;
    if (!choice->prompt_token_ids.empty()) {
      prompt_ids = absl::StrCat("[", choice->prompt_token_ids, "]");
      part.prompt_token_ids = prompt_ids;
    }
  }
  append_choice(out, part);
  choice->text.clear();
  choice->token_ids.clear();
  std::string().swap(choice->prompt_token_ids);
}

void CompletionJob::append_event(Choice* choice, std::string* out) {
  std::string json = prefix_;
  append_choice_part(choice, &json);
  json.push_back(']');
  if (request_.continuous_usage_stats) {
    json.append(",\"usage\":");
    append_usage(&json, usage());
  } else if (request_.include_usage) {
    json.append(",\"usage\":null");
  }
  json.push_back('}');
  append_sse_event(out, json);
}

void CompletionJob::append_last_events(std::string* out) {
  if (request_.include_usage) {
    std::string json = prefix_ + "],\"usage\":";
    append_usage(&json, usage());
    json.push_back('}');
    append_sse_event(out, json);
  }
  out->append(kSseDone);
}

void CompletionJob::append_reply(std::string* out) {
  out->append(prefix_);
  for (Choice& choice : choices_) {
    if (choice.index > 0) out->push_back(',');
    append_choice_part(&choice, out);
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

}  // namespace deltaserve
