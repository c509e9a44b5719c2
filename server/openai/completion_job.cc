#include "server/openai/completion_job.h"

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

// One answer. What is pending was taken from the generation and not yet sent.
struct CompletionJob::Choice {
  int index = 0;
  std::vector<AnswerDelta> deltas;            // pending
  std::unique_ptr<LogprobsBuilder> logprobs;  // pending
  std::string token_ids;                      // pending
  std::string prompt_token_ids;               // pending until the first part
  FinishReason finish = FinishReason::kNone;
  bool stopped_for_calls = false;
  std::string stop_reason;  // JSON
  bool opened = false;      // its first chunk was sent
  bool closed = false;      // its last chunk was sent

  bool has_pending() const { return !deltas.empty() || !logprobs->empty() || !token_ids.empty(); }
};

struct CompletionJob::PartStorage {
  std::vector<AnswerDelta> deltas;
  std::vector<std::string> texts;
};

CompletionJob::CompletionJob(Services& services, const AnswerFormat& format,
                             GenerationRequest request, Arrival arrival)
    : model_(services.model),
      format_(format),
      id_(arrival.id),
      generation_(services, std::move(request), std::move(arrival)) {}

CompletionJob::~CompletionJob() = default;

std::variant<std::unique_ptr<CompletionJob>, ApiError> CompletionJob::start(
    Services& services, const AnswerFormat& format, std::string body, Arrival arrival,
    const std::function<void()>& notify) {
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
      reply_prefix(job->id_, format.object(job->streaming()), unix_seconds(), services.model.name);
  if (auto error = job->open_choices()) return *std::move(error);
  if (auto error = job->generation_.submit(notify)) return *std::move(error);
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
    if (parameters.return_token_ids) append_json_ids(&choice.prompt_token_ids, prompts[i / n]);
    if (!parameters.echo) continue;
    if (auto error = echo_prompt(&choice, i / n)) return error;
  }
  return std::nullopt;
}

std::optional<ApiError> CompletionJob::echo_prompt(Choice* choice, size_t prompt) {
  const std::vector<int32_t>& ids = generation_.prompts()[prompt];
  std::string echoed;
  if (!generation_.texts().empty()) {
    echoed = generation_.texts()[prompt];
  } else if (model_.tokenizer != nullptr) {
    absl::StatusOr<std::string> text = model_.tokenizer->decode(ids, SpecialTokens::kSkip);
    if (!text.ok()) return api_error_from(text.status(), "prompt");
    echoed = *std::move(text);
  }
  const size_t echoed_bytes = echoed.size();
  append_delta({AnswerDelta::Kind::kContent, std::move(echoed)}, &choice->deltas);
  if (generation_.parameters().generate.prompt_logprobs < 0) return std::nullopt;
  auto logprobs = std::make_unique<CompletionLogprobs>();
  if (model_.tokenizer != nullptr) {
    // A tokenizer may put a space in front of a text. Offsets are those of the text.
    size_t bytes = 0;
    for (const int32_t id : ids) bytes += model_.tokenizer->vocabulary().bytes(id).size();
    if (bytes > echoed_bytes) logprobs->set_skip(1);
  }
  TokenLogprob first;
  first.token = ids.front();
  logprobs->add(model_, first, /*known=*/false);
  choice->logprobs = std::move(logprobs);
  return std::nullopt;
}

void CompletionJob::absorb(Generation::Part part) {
  Choice& choice = choices_[part.choice];
  const TokenUpdate& update = part.update;
  for (AnswerDelta& delta : part.deltas) append_delta(std::move(delta), &choice.deltas);
  for (const TokenLogprob& token : update.prompt_logprobs) {
    choice.logprobs->add(model_, token, /*known=*/true);
  }
  if (generation_.parameters().generate.logprobs >= 0) {
    for (const TokenLogprob& token : update.logprobs) choice.logprobs->add(model_, token, true);
  }
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

// Takes a bounded round: a generation faster than its reader must not keep the thread here.
CompletionJob::State CompletionJob::poll(std::string* out) {
  for (size_t asked = 0; asked < choices_.size(); ++asked) {
    std::optional<Generation::Part> part = generation_.next();
    if (!part) break;
    absorb(*std::move(part));
  }
  if (streaming()) {
    for (Choice& choice : choices_) append_events(&choice, out);
  }
  if (generation_.error()) {
    if (streaming()) append_sse_event(out, error_json(error()));
    return State::kFailed;
  }
  if (!generation_.done()) return State::kRunning;
  streaming() ? append_last_events(out) : append_reply(out);
  return State::kDone;
}

// Takes the pending part of a choice, which is empty afterwards. The views point into `storage`.
ChoicePart CompletionJob::take_part(Choice* choice, PartStorage* storage) {
  storage->texts.clear();
  storage->texts.reserve(3);
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
  for (const std::string& json : format_.chunks(part)) append_chunk(json, out);
}

void CompletionJob::append_chunk(std::string_view choice, std::string* out) {
  std::string json = str_cat(prefix_, choice, "]");
  if (generation_.parameters().continuous_usage_stats) {
    json.append(",\"usage\":");
    append_usage(&json, generation_.usage());
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
  out->append("],\"usage\":");
  append_figures(out);
}

// Appends what follows "usage": in the last object of a reply.
void CompletionJob::append_figures(std::string* out) {
  append_usage(out, generation_.usage());
  out->append(",\"timings\":");
  append_timings(out, generation_.timings());
  out->push_back('}');
}

void CompletionJob::describe(LogFields* fields) const {
  fields->text("completion_id", id_);
  generation_.describe(fields);
}

}  // namespace deltaserve
