#include "engine/sequence_group.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

SequenceGroup::SequenceGroup(GenerateRequest request, const SequenceContext* context,
                             std::vector<std::shared_ptr<TokenStream>> streams,
                             SteadyTime submitted)
    : context_(*context) {
  std::unique_ptr<TokenConstraint> constraint = std::move(request.constraint);
  request_ = std::make_shared<const GenerateRequest>(std::move(request));
  for (size_t i = 0; i < streams.size(); ++i) {
    const bool last = i + 1 == streams.size();
    std::unique_ptr<TokenConstraint> own;
    // NOLINTNEXTLINE(bugprone-use-after-move): it is moved in the last round
    if (constraint != nullptr) own = last ? std::move(constraint) : constraint->clone();
    choices_.push_back(
        std::make_unique<Sequence>(request_, request_->choice + static_cast<uint32_t>(i),
                                   std::move(own), context, std::move(streams[i]), submitted));
  }
}

int64_t SequenceGroup::prompt_left() const {
  return num_prompt_tokens() - num_computed_tokens_;
}

bool SequenceGroup::paused() const {
  return std::any_of(choices_.begin(), choices_.end(),
                     [](const auto& choice) { return choice->stream().full(); });
}

void SequenceGroup::end_unwanted(SteadyTime now, Sequences* ended) {
  for (const auto& choice : choices_) choice->end_if_unwanted(now);
  const auto kept = std::stable_partition(choices_.begin(), choices_.end(),
                                          [](const auto& choice) { return !choice->ended(); });
  std::move(kept, choices_.end(), std::back_inserter(*ended));
  choices_.erase(kept, choices_.end());
  // Slots are nobody's in particular until the prompt is read; the first is the last to go.
  while (slots_.size() > choices_.size()) slots_.pop_back();
}

void SequenceGroup::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (auto& choice : choices_) {
    choice->end(finish, now);
    ended->push_back(std::move(choice));
  }
  choices_.clear();
  slots_.clear();
}

void SequenceGroup::admit(StatePool* pool, SteadyTime now) {
  for (const auto& choice : choices_) {
    slots_.push_back(pool->acquire());
    DS_CHECK(slots_.back());
    choice->admit(now);
  }
  penalties_ = Penalties(request_->sampling, context_.vocab_size);
}

// Of the row that holds the token at `position`.
bool SequenceGroup::wants_target(int64_t position) const {
  return request_->prompt_logprobs >= 0 && position + 1 < num_prompt_tokens();
}

void SequenceGroup::append_rows(int num_tokens, SteadyTime now, StepPlan* plan,
                                std::vector<HeadRow>* head_rows) {
  DS_CHECK(num_tokens > 0 && num_tokens <= prompt_left());
  DS_CHECK(num_computed_tokens_ % kChunkTokens == 0);
  const auto first_row = static_cast<int32_t>(plan->token_ids.size());
  const int slot = slots_.front().index();
  plan->segments.push_back({slot, slot, first_row, num_tokens, num_computed_tokens_});
  for (int i = 0; i < num_tokens; ++i) {
    const int64_t position = num_computed_tokens_ + i;
    plan->token_ids.push_back(request_->prompt[position]);
    penalties_.add_prompt_token(request_->prompt[position]);
    if (!wants_target(position)) continue;
    HeadRow target;
    target.row = first_row + i;
    target.target = request_->prompt[position + 1];
    target.num_top = request_->prompt_logprobs;
    head_rows->push_back(target);
  }
  if (num_tokens < prompt_left()) return;
  for (const auto& choice : choices_) {
    choice->start(penalties_);
    choice->prepare_draw(now);
    if (choice->wants_draw()) choice->add_draw(first_row + num_tokens - 1, head_rows);
  }
}

const HeadResult* SequenceGroup::commit(int num_tokens, const HeadResult* results, SteadyTime now) {
  for (int i = 0; i < num_tokens; ++i) {
    const int64_t position = num_computed_tokens_ + i;
    if (!wants_target(position)) continue;
    for (const auto& choice : choices_) {
      choice->add_prompt_logprob(
          token_logprob(request_->prompt[position + 1], results->target_logprob, *results));
    }
    ++results;
  }
  num_computed_tokens_ += num_tokens;
  for (const auto& choice : choices_) {
    choice->set_prompt_tokens_read(num_computed_tokens_);
    if (prompt_left() > 0 || choice->ended()) continue;
    if (choice->wants_draw()) {
      choice->commit(*results++, now);
    } else {
      choice->end_without_draw(now);
    }
  }
  return results;
}

void SequenceGroup::start_choices(StepRunner* runner, Sequences* decoding, Sequences* ended) {
  DS_CHECK(prompt_left() == 0 && slots_.size() == choices_.size());
  const int prompt_slot = slots_.front().index();
  size_t next = 0;
  for (auto& choice : choices_) {
    if (choice->ended()) {
      ended->push_back(std::move(choice));
      continue;
    }
    if (next > 0) runner->copy_state(prompt_slot, slots_[next].index());
    choice->take_slot(std::move(slots_[next++]));
    decoding->push_back(std::move(choice));
  }
  choices_.clear();
  slots_.clear();
}

}  // namespace deltaserve
