#include "engine/sequence/sequence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "kernels/base/check.h"

namespace deltaserve {
namespace {

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

double seconds_between(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

TokenLogprob token_logprob(int32_t token, float logprob, const DrawResult& result) {
  TokenLogprob out{token, logprob, {}};
  out.top.reserve(result.num_top);
  for (int i = 0; i < result.num_top; ++i) {
    out.top.emplace_back(result.top_tokens[i], result.top_logprobs[i]);
  }
  return out;
}

Sequence::Sequence(std::shared_ptr<const GenerateRequest> request, uint32_t choice,
                   std::unique_ptr<TokenConstraint> constraint, const SequenceContext* context,
                   std::shared_ptr<TokenStream> stream, SteadyTime submitted)
    : request_(std::move(request)),
      choice_(choice),
      constraint_(std::move(constraint)),
      context_(*context),
      stream_(std::move(stream)),
      submitted_(submitted),
      emitter_(request_->stop, context_.vocabulary->ill_formed()) {}

void Sequence::end(FinishReason finish, SteadyTime now) {
  DS_CHECK(!ended() && finish != FinishReason::kNone);
  finish_ = finish;
  update_.finish = finish;
  set_durations(now);
}

void Sequence::end_if_unwanted(SteadyTime now) {
  if (ended()) return;
  if (stream_->cancelled()) {
    end(FinishReason::kCancelled, now);
  } else if (request_->deadline <= now) {
    end(FinishReason::kDeadline, now);
  }
}

void Sequence::end_if_unread(SteadyTime last, SteadyTime now) {
  if (!ended() && stream_->unread_since().value_or(now) <= last) end(FinishReason::kUnread, now);
}

void Sequence::set_durations(SteadyTime now) {
  update_.queue_seconds = seconds_between(submitted_, admitted_.value_or(now));
  if (!admitted_) return;
  update_.prefill_seconds = seconds_between(*admitted_, first_token_.value_or(now));
  if (first_token_) update_.decode_seconds = seconds_between(*first_token_, newest_token_);
}

void Sequence::add_prompt_logprob(TokenLogprob logprob) {
  update_.prompt_logprobs.push_back(std::move(logprob));
}

void Sequence::start(Penalties penalties, StateSlot slot) {
  penalties_ = std::move(penalties);
  slot_ = std::move(slot);
  if (constraint_ != nullptr || request_->min_tokens > 0) mask_.emplace(context_.vocab_size);
  num_under_way_ = wants_draw() ? 1 : 0;
}

void Sequence::end_with_embedding(std::vector<float> embedding, SteadyTime now) {
  const bool finite =
      std::all_of(embedding.begin(), embedding.end(), [](float x) { return std::isfinite(x); });
  if (finite) update_.embedding = std::move(embedding);
  end(finite ? FinishReason::kStop : FinishReason::kNotFinite, now);
}

void Sequence::end_without_draw(SteadyTime now) {
  DS_CHECK(!wants_draw());
  end(request_->max_tokens == 0 ? FinishReason::kLength : FinishReason::kStop, now);
}

bool Sequence::wants_draw() const {
  return !ended() && request_->max_tokens > 0 &&
         !(constraint_ != nullptr && constraint_->finished());
}

SteadyTime Sequence::prepare_draw(SteadyTime now) {
  if (prepared_ || !wants_draw()) return now;
  prepared_ = update_mask();
  SteadyTime done = now;
  if (constrained()) {
    done = std::chrono::steady_clock::now();
    expected_mask_time_ = std::max<std::chrono::nanoseconds>(done - now, expected_mask_time_ / 2);
  }
  if (!prepared_) end(FinishReason::kError, done);
  return done;
}

// Computes the mask of the next draw. Returns false if no token may be drawn.
bool Sequence::update_mask() {
  const bool too_short = num_generated_tokens_ < request_->min_tokens;
  masked_ = constraint_ != nullptr || too_short;
  if (!masked_) return true;
  const auto reset = [this] {
    constraint_ != nullptr ? mask_->allow_only(*constraint_) : mask_->allow_all();
  };
  reset();
  if (too_short || request_->ignore_eos) mask_->remove(*context_.eos_token_ids);
  if (too_short) mask_->remove(request_->stop_token_ids);
  if (!mask_->any()) reset();  // only the end can come next
  return mask_->any();
}

void Sequence::add_draw(int32_t row, std::vector<Draw>* draws) {
  DS_CHECK(prepared_ && !awaits_result_);
  awaits_result_ = true;
  const SamplingParams& sampling = request_->sampling;
  Draw draw;
  draw.row = row;
  draw.slot = slot_.index();
  draw.num_top = std::max(request_->logprobs, 0);
  draw.sample = true;
  draw.adjustments = penalties_.adjustments().data();
  draw.num_adjustments = static_cast<int32_t>(penalties_.adjustments().size());
  draw.allowed = masked_ ? mask_->words() : nullptr;
  draw.temperature = sampling.temperature;
  draw.top_k = sampling.top_k;
  draw.top_p = sampling.top_p;
  draw.min_p = sampling.min_p;
  draw.seed = sampling.seed;
  draw.choice = choice_;
  // The draw's position is that of the token to be drawn.
  draw.position = request_->prompt.size() + static_cast<uint64_t>(num_generated_tokens_);
  draws->push_back(draw);
}

bool Sequence::wants_row() const {
  const int64_t num_tokens = num_generated_tokens_ + num_under_way_;
  return !ended() && num_tokens > 0 && num_tokens < request_->max_tokens;
}

bool Sequence::ready_for_row() const {
  if (!wants_row()) return false;
  return token_under_way() ? !constrained() || may_run_ahead_ : prepared_;
}

int32_t Sequence::append_row(StepPlan* plan) {
  DS_CHECK(ready_for_row());
  const auto row = static_cast<int32_t>(plan->token_ids.size());
  Segment segment;
  segment.kind = RowKind::kDecode;
  segment.read_slot = segment.write_slot = slot_.index();
  segment.first_row = row;
  segment.num_rows = 1;
  segment.position =
      static_cast<int64_t>(request_->prompt.size()) + num_generated_tokens_ + num_under_way_ - 1;
  plan->segments.push_back(segment);
  plan->token_ids.push_back(token_under_way() ? kTokenOfSlot : last_token_);
  may_run_ahead_ = false;
  ++num_under_way_;
  return row;
}

void Sequence::commit(const DrawResult& result, SteadyTime now) {
  DS_CHECK(awaits_result_);
  awaits_result_ = false;
  if (ended()) return;
  const int32_t token = result.token;
  prepared_ = false;
  may_run_ahead_ = false;
  --num_under_way_;
  // Backends report a row of logits that are not finite by a logprob that is not finite, together
  // with some token.
  if (!std::isfinite(result.logprob)) return end(FinishReason::kNotFinite, now);
  ++num_generated_tokens_;
  last_token_ = token;
  newest_token_ = now;
  if (!first_token_) first_token_ = now;
  penalties_.add_generated_token(token);
  update_.tokens.push_back(token);
  if (request_->logprobs >= 0) {
    update_.logprobs.push_back(token_logprob(token, result.logprob, result));
  }
  const FinishReason finish = take_token(token);
  if (finish != FinishReason::kNone) end(finish, now);
}

// Adds a token to the answer and returns the finish reason that it causes, if any.
FinishReason Sequence::take_token(int32_t token) {
  if (contains(request_->stop_token_ids, token)) {
    update_.stop_token = token;
    const bool stopped = request_->include_stop && emit(token);
    if (!stopped) finish_text();
    return FinishReason::kStop;
  }
  // Under a constraint EOS ends a complete answer; with ignore_eos it ends it only if nothing else
  // may come.
  if (is_eos(token) && (!request_->ignore_eos || constraint_ != nullptr)) {
    finish_text();
    return FinishReason::kStop;
  }
  if (constraint_ != nullptr) constraint_->accept(token);
  const bool fulfilled = constraint_ != nullptr && constraint_->finished();
  const bool last = fulfilled || num_generated_tokens_ == request_->max_tokens;
  if (emit(token) || (last && finish_text())) {
    update_.stop_string = emitter_.stop_string();
    return FinishReason::kStop;
  }
  if (fulfilled) return FinishReason::kStop;
  return last ? FinishReason::kLength : FinishReason::kNone;
}

bool Sequence::is_eos(int32_t token) const {
  return contains(*context_.eos_token_ids, token);
}

// Adds the token's text to the update. Returns true if a stop string was completed.
bool Sequence::emit(int32_t token) {
  std::string_view bytes = context_.vocabulary->bytes(token);
  if (bytes.empty() && request_->show_control_tokens) {
    bytes = context_.vocabulary->name(token);
  } else if (bytes.empty() && !context_.vocabulary->empty()) {
    update_.controls.push_back({emitter_.text_bytes(), token});
  }
  if (num_generated_tokens_ <= request_->min_tokens) {
    emitter_.append_unmatched(bytes, &update_.text);
    return false;
  }
  if (!emitter_.append(bytes, &update_.text)) return false;
  if (request_->include_stop) update_.text += emitter_.stop_string();
  return true;
}

// Releases held text. Returns true if the end of it completed a stop string.
bool Sequence::finish_text() {
  if (!emitter_.flush(&update_.text)) return false;
  if (request_->include_stop) update_.text += emitter_.stop_string();
  return true;
}

void Sequence::publish() {
  update_.prompt_tokens_read = prompt_tokens_read_;
  update_.prompt_tokens_reused = prompt_tokens_reused_;
  update_.tokens_generated = num_generated_tokens_;
  stream_->push(std::exchange(update_, {}));
}

}  // namespace deltaserve
