#include "engine/sequence.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

TokenLogprob token_logprob(int32_t token, float logprob, const HeadResult& result) {
  TokenLogprob out{token, logprob, {}};
  out.top.reserve(result.num_top);
  for (int i = 0; i < result.num_top; ++i) {
    out.top.emplace_back(result.top_tokens[i], result.top_logprobs[i]);
  }
  return out;
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Sequence::Sequence(GenerateRequest request, const Vocabulary* vocabulary,
                   const std::vector<int32_t>* eos_token_ids, std::shared_ptr<TokenStream> stream)
    : request_(std::move(request)),
      vocabulary_(vocabulary),
      eos_token_ids_(eos_token_ids),
      stream_(std::move(stream)),
      emitter_(request_.stop) {}

int64_t Sequence::prompt_left() const {
  return std::max<int64_t>(num_prompt_tokens() - num_computed_tokens_, 0);
}

void Sequence::admit(StateSlot slot) {
  DS_CHECK(status_ == SequenceStatus::kWaiting && slot);
  slot_ = std::move(slot);
  status_ = SequenceStatus::kPrefill;
}

void Sequence::end(FinishReason finish) {
  DS_CHECK(status_ != SequenceStatus::kEnded);
  status_ = SequenceStatus::kEnded;
  finish_ = finish;
  update_.finish = finish;
}

// Of the row that holds the token at `position`.
bool Sequence::wants_target(int64_t position) const {
  return request_.prompt_logprobs >= 0 && position + 1 < num_prompt_tokens();
}

bool Sequence::wants_sample(int64_t position) const {
  return request_.max_tokens > 0 && position + 1 >= num_prompt_tokens();
}

void Sequence::append_rows(int num_tokens, StepPlan* plan, std::vector<HeadRow>* head_rows) const {
  const bool decode = status_ == SequenceStatus::kDecode;
  DS_CHECK(decode ? num_tokens == 1 : num_tokens <= prompt_left());
  DS_CHECK(decode || num_computed_tokens_ % kChunkTokens == 0);
  const auto first_row = static_cast<int32_t>(plan->token_ids.size());
  plan->segments.push_back({slot_.index(), first_row, num_tokens, num_computed_tokens_});
  for (int i = 0; i < num_tokens; ++i) {
    const int64_t position = num_computed_tokens_ + i;
    plan->token_ids.push_back(decode ? last_token_ : request_.prompt[position]);
    HeadRow row;
    row.row = first_row + i;
    if (wants_target(position)) {
      row.target = request_.prompt[position + 1];
      row.num_top = request_.prompt_logprobs;
      head_rows->push_back(row);
    } else if (wants_sample(position)) {
      row.num_top = std::max(request_.logprobs, 0);
      row.sample = true;
      row.temperature = request_.sampling.temperature;
      row.top_k = request_.sampling.top_k;
      row.top_p = request_.sampling.top_p;
      row.min_p = request_.sampling.min_p;
      row.seed = request_.sampling.seed;
      row.choice = request_.choice;
      row.position = static_cast<uint64_t>(position + 1);  // of the token to be drawn
      head_rows->push_back(row);
    }
  }
}

const HeadResult* Sequence::commit(int num_tokens, const HeadResult* results) {
  for (int i = 0; i < num_tokens; ++i) {
    const int64_t position = num_computed_tokens_ + i;
    if (wants_target(position)) {
      update_.prompt_logprobs.push_back(
          token_logprob(request_.prompt[position + 1], results->target_logprob, *results));
      ++results;
    } else if (wants_sample(position)) {
      accept_token(*results);
      ++results;
    }
  }
  num_computed_tokens_ += num_tokens;
  if (status_ == SequenceStatus::kPrefill && prompt_left() == 0) {
    status_ = SequenceStatus::kDecode;
    if (request_.max_tokens == 0) end(FinishReason::kLength);
  }
  return results;
}

void Sequence::accept_token(const HeadResult& result) {
  const int32_t token = result.token;
  ++num_generated_tokens_;
  last_token_ = token;
  update_.tokens.push_back(token);
  if (request_.logprobs >= 0) {
    update_.logprobs.push_back(token_logprob(token, result.logprob, result));
  }
  if (contains(request_.stop_token_ids, token)) {
    end(FinishReason::kStop);
    update_.stop_token = token;
    emitter_.flush(&update_.text);
  } else if (!request_.ignore_eos && contains(*eos_token_ids_, token)) {
    end(FinishReason::kStop);
    emitter_.flush(&update_.text);
  } else if (emitter_.append(vocabulary_->bytes(token), &update_.text)) {
    end(FinishReason::kStop);
    update_.stop_string = emitter_.stop_string();
  } else if (num_generated_tokens_ == request_.max_tokens) {
    const bool stopped = emitter_.flush(&update_.text);
    end(stopped ? FinishReason::kStop : FinishReason::kLength);
    if (stopped) update_.stop_string = emitter_.stop_string();
  }
}

void Sequence::publish() {
  update_.prompt_tokens_read = std::min(num_computed_tokens_, num_prompt_tokens());
  update_.tokens_generated = num_generated_tokens_;
  stream_->push(std::exchange(update_, {}));
}

}  // namespace deltaserve
