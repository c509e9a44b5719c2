#include "server/openai/completion_job.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "server/base/random.h"
#include "server/base/sse.h"

namespace deltaserve {
namespace {

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// One answer. Pending members were taken from the generation and are not yet sent.
struct CompletionJob::Choice {
  int index = 0;
  std::vector<AnswerDelta> deltas;            // pending
  std::unique_ptr<LogprobsBuilder> logprobs;  // pending
  std::string token_ids;                      // pending
  std::string prompt_token_ids;               // pending until the first part
  std::string prompt_logprobs;                // likewise; a list without its end
  int64_t tokens_taken = 0;                   // from the generation
  int64_t tokens_sent = 0;                    // with the chunks so far
  FinishReason finish = FinishReason::kNone;
  bool stopped_for_calls = false;
  std::string stop_reason;  // JSON
  bool opened = false;      // its first chunk was sent
  bool closed = false;      // its last chunk was sent

  size_t pending_bytes() const {
    size_t bytes = logprobs->bytes() + token_ids.capacity() + prompt_token_ids.capacity() +
                   prompt_logprobs.capacity();
    for (const AnswerDelta& delta : deltas) bytes += sizeof delta + delta.text.capacity();
    return bytes;
  }
  bool has_pending() const { return !deltas.empty() || !logprobs->empty() || !token_ids.empty(); }
};

struct CompletionJob::PartStorage {
  std::vector<AnswerDelta> deltas;
  std::vector<std::string> texts;
};

CompletionJob::CompletionJob(Services& services, const AnswerFormat& format,
                             GenerationRequest request, Arrival arrival)
    : AnswerJob(services, std::move(request), std::move(arrival)),
      model_(services.model),
      format_(format),
      names_{services.model, !generation_.parameters().skip_special_tokens,
             generation_.parameters().tokens_as_ids} {}

CompletionJob::~CompletionJob() = default;

std::variant<std::unique_ptr<AnswerJob>, ApiError> CompletionJob::read(Services& services,
                                                                       const AnswerFormat& format,
                                                                       std::string body,
                                                                       Arrival arrival) {
  GenerationRequest request;
  if (auto error = format.parse(body, services.model, services.limits, &request)) {
    return *std::move(error);
  }
  std::string().swap(body);  // it may be large, and the ids are made next
  arrival.id = absl::StrFormat("%s-%016x%016x", std::string(format.id_prefix()), random_bits(),
                               random_bits());
  std::unique_ptr<CompletionJob> job(
      new CompletionJob(services, format, std::move(request), std::move(arrival)));
  if (auto error = job->generation_.encode()) return *std::move(error);
  job->prefix_ =
      reply_prefix(job->id_, format.object(job->streaming()), unix_seconds(), services.model);
  if (auto error = job->open_choices()) return *std::move(error);
  return job;
}

std::optional<ApiError> CompletionJob::open_choices() {
  const GenerationParameters& parameters = generation_.parameters();
  const auto& prompts = generation_.prompts();
  const size_t n = static_cast<size_t>(parameters.n);
  choices_.resize(prompts.size() * n);
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    choice.index = static_cast<int>(i);
    choice.logprobs = format_.logprobs();
    if (parameters.prompt_logprobs >= 0) choice.prompt_logprobs = "[null";
    if (parameters.return_token_ids) {
      std::string& ids = format_.is_chat() ? prompt_token_ids_ : choice.prompt_token_ids;
      if (ids.empty()) append_json_ids(&ids, prompts[i / n]);
    }
    if (!parameters.echo) continue;
    if (auto error = echo_prompt(&choice, i / n)) return error;
  }
  return std::nullopt;
}

std::optional<ApiError> CompletionJob::echo_prompt(Choice* choice, size_t prompt) {
  const std::vector<int32_t>& ids = generation_.prompts()[prompt];
  const bool scored = generation_.parameters().generate.logprobs >= 0;
  EchoedPrompt echoed;
  if (!generation_.texts().empty()) {
    echoed.text = generation_.texts()[prompt];
    if (scored) echoed.offsets = offsets_in_text(echoed.text, ids, *model_.tokenizer);
  } else if (model_.tokenizer != nullptr) {
    const auto special = names_.show_control_tokens ? SpecialTokens::kKeep : SpecialTokens::kSkip;
    absl::StatusOr<EchoedPrompt> made = echo_ids(ids, special, *model_.tokenizer);
    if (!made.ok()) return api_error_from(made.status(), "prompt");
    echoed = *std::move(made);
  }
  if (!echoed.text.empty()) {
    append_delta({AnswerDelta::Kind::kContent, echoed.text}, &choice->deltas);
  }
  if (!scored) return std::nullopt;
  auto logprobs = std::make_unique<CompletionLogprobs>();
  logprobs->set_prompt(echoed);
  TokenLogprob first;
  first.token = ids.front();
  logprobs->add(names_, first, /*known=*/false);
  choice->logprobs = std::move(logprobs);
  return std::nullopt;
}

void CompletionJob::absorb(Generation::Part part) {
  Choice& choice = choices_[part.choice];
  const TokenUpdate& update = part.update;
  for (AnswerDelta& delta : part.deltas) append_delta(std::move(delta), &choice.deltas);
  absorb_prompt_logprobs(update.prompt_logprobs, &choice);
  if (generation_.parameters().generate.logprobs >= 0) {
    for (const TokenLogprob& token : update.logprobs) choice.logprobs->add(names_, token, true);
  }
  choice.tokens_taken = update.tokens_generated;
  if (generation_.parameters().return_token_ids) {
    append_json_ids(&choice.token_ids, update.tokens);
  }
  choice.finish = update.finish;
  choice.stopped_for_calls = part.stopped_for_calls;
  if (!update.stop_string.empty()) {
    append_json_string(&choice.stop_reason, update.stop_string);
  } else if (update.stop_token >= 0) {
    choice.stop_reason = absl::StrCat(update.stop_token);
  }
}

// An echo and the parameter prompt_logprobs report the same log-probabilities, each with its own
// number of most likely tokens.
void CompletionJob::absorb_prompt_logprobs(const std::vector<TokenLogprob>& tokens,
                                           Choice* choice) {
  const GenerationParameters& parameters = generation_.parameters();
  const int32_t echoed = parameters.echo ? parameters.generate.logprobs : -1;
  for (const TokenLogprob& token : tokens) {
    if (echoed >= 0) {
      TokenLogprob cut = token;
      cut.top.resize(std::min(cut.top.size(), static_cast<size_t>(echoed)));
      choice->logprobs->add(names_, cut, /*known=*/true);
    }
    if (parameters.prompt_logprobs < 0) continue;
    choice->prompt_logprobs.push_back(',');
    append_prompt_logprob(&choice->prompt_logprobs, names_, token, parameters.prompt_logprobs);
  }
}

// Takes a bounded number of parts, because a generation that is faster than its reader would keep
// the thread here.
CompletionJob::State CompletionJob::poll(std::string* out) {
  for (size_t asked = 0; asked < choices_.size(); ++asked) {
    std::optional<Generation::Part> part = generation_.next();
    if (!part) break;
    absorb(*std::move(part));
  }
  if (!hold(*out)) out->clear();
  if (streaming() && !generation_.error()) {
    for (Choice& choice : choices_) append_events(&choice, out);
  }
  if (generation_.error()) {
    if (streaming()) append_sse_event(out, error_json(error()));
    return State::kFailed;
  }
  if (!generation_.done()) return State::kRunning;
  streaming() ? append_last_events(out) : append_reply(out);
  if (hold(*out)) return State::kDone;
  out->clear();
  return State::kFailed;
}

// Counts the pending bytes and those that were written and are still to be sent.
bool CompletionJob::hold(const std::string& out) {
  size_t bytes = out.capacity() + prompt_token_ids_.capacity();
  for (const Choice& choice : choices_) bytes += choice.pending_bytes();
  return generation_.hold_reply(bytes);
}

// Takes the pending part of a choice, which is empty afterwards. The views point into `storage`.
ChoicePart CompletionJob::take_part(Choice* choice, PartStorage* storage) {
  storage->texts.clear();
  storage->texts.reserve(4);
  const auto keep = [&](std::string text) -> std::string_view {
    storage->texts.push_back(std::move(text));
    return storage->texts.back();
  };
  ChoicePart part;
  part.index = choice->index;
  storage->deltas = std::exchange(choice->deltas, {});
  part.deltas = storage->deltas;
  const bool wanted = generation_.parameters().generate.logprobs >= 0;
  if (wanted && !(streaming() && choice->logprobs->empty())) {
    part.logprobs = keep(choice->logprobs->take());
  }
  if (generation_.parameters().return_token_ids) {
    part.token_ids = keep(str_cat("[", std::exchange(choice->token_ids, {}), "]"));
    if (!choice->prompt_token_ids.empty()) {
      part.prompt_token_ids = keep(str_cat("[", std::exchange(choice->prompt_token_ids, {}), "]"));
    }
  }
  if (!choice->prompt_logprobs.empty() && !format_.is_chat()) {
    part.prompt_logprobs = keep(std::exchange(choice->prompt_logprobs, {}) + "]");
  }
  part.finish = choice->finish;
  part.stopped_for_calls = choice->stopped_for_calls;
  part.stop_reason = choice->stop_reason;
  return part;
}

void CompletionJob::append_events(Choice* choice, std::string* out) {
  const bool ended = choice->finish != FinishReason::kNone;
  StreamPart part;
  part.empty = !choice->has_pending();
  part.ended = ended;
  if (choice->closed || (part.empty && !ended)) return;
  choice->closed = ended;
  part.first = !std::exchange(choice->opened, true);
  PartStorage storage;
  part.content = take_part(choice, &storage);
  bool has_role_only = part.first && format_.is_chat();
  for (const std::string& json : format_.chunks(part)) {
    if (!std::exchange(has_role_only, false)) choice->tokens_sent = choice->tokens_taken;
    append_chunk(json, out);
  }
}

// Counts the tokens that were sent, not those that were generated; a chunk that is being written
// counts as sent.
Usage CompletionJob::usage_sent() const {
  Usage usage = generation_.usage();
  usage.completion_tokens = 0;
  for (const Choice& choice : choices_) usage.completion_tokens += choice.tokens_sent;
  return usage;
}

// Returns the members about the prompt that the first object of a chat's reply has.
std::string CompletionJob::prompt_members() {
  std::string members;
  if (!prompt_token_ids_.empty()) {
    members = str_cat(",\"prompt_token_ids\":[", std::exchange(prompt_token_ids_, {}), "]");
  }
  std::string& logprobs = choices_.front().prompt_logprobs;
  if (format_.is_chat() && !logprobs.empty()) {
    members.append(str_cat(",\"prompt_logprobs\":", std::exchange(logprobs, {}), "]"));
  }
  return members;
}

void CompletionJob::append_chunk(std::string_view choice, std::string* out) {
  std::string json = str_cat(prefix_, choice, "]", prompt_members());
  if (generation_.parameters().continuous_usage_stats) {
    json.append(",\"usage\":");
    append_usage(&json, usage_sent());
  } else if (generation_.parameters().include_usage) {
    json.append(",\"usage\":null");
  }
  json.push_back('}');
  append_sse_event(out, json);
}

void CompletionJob::append_last_events(std::string* out) {
  if (generation_.parameters().include_usage) {
    std::string json = prefix_ + "],\"usage\":";
    append_figures(&json);
    append_sse_event(out, json);
  }
  out->append(kSseDone);
}

void CompletionJob::append_reply(std::string* out) {
  out->append(prefix_);
  PartStorage storage;
  for (Choice& choice : choices_) {
    if (choice.index > 0) out->push_back(',');
    format_.append_choice(out, take_part(&choice, &storage));
  }
  out->append("]").append(prompt_members()).append(",\"usage\":");
  append_figures(out);
}

// Appends the value of "usage" and the members after it, for the last object of a reply.
void CompletionJob::append_figures(std::string* out) {
  append_usage(out, generation_.usage());
  out->append(",\"timings\":");
  append_timings(out, generation_.timings());
  out->push_back('}');
}

}  // namespace deltaserve
