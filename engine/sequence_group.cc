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
    members_.push_back(choices_.back().get());
  }
}

int64_t SequenceGroup::prompt_left() const {
  return num_prompt_tokens() - num_given_tokens_;
}

bool SequenceGroup::paused() const {
  return std::any_of(choices_.begin(), choices_.end(),
                     [](const auto& choice) { return choice->stream().full(); });
}

void SequenceGroup::end_unwanted(SteadyTime now, Sequences* ended) {
  for (const auto& choice : choices_) choice->end_if_unwanted(now);
  std::erase_if(members_, [](const Sequence* choice) { return choice->ended(); });
  const auto kept = std::stable_partition(choices_.begin(), choices_.end(),
                                          [](const auto& choice) { return !choice->ended(); });
  std::move(kept, choices_.end(), std::back_inserter(*ended));
  choices_.erase(kept, choices_.end());
  // Slots are not assigned to choices until the prompt is read. The first holds the prompt's state
  // and is kept longest.
  while (slots_.size() > choices_.size()) slots_.pop_back();
}

void SequenceGroup::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (auto& choice : choices_) {
    choice->end(finish, now);
    ended->push_back(std::move(choice));
  }
  choices_.clear();
  members_.clear();
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

// Returns true if the token at `position` is to be scored by the row before it.
bool SequenceGroup::wants_target(int64_t position) const {
  return request_->prompt_logprobs >= 0 && position + 1 < num_prompt_tokens();
}

bool SequenceGroup::at_end(const Piece& piece) const {
  return piece.position + piece.num_rows == num_prompt_tokens();
}

bool SequenceGroup::unwanted() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Sequence* choice) { return choice->ended(); });
}

SequenceGroup::Piece SequenceGroup::append_rows(int num_tokens, StepPlan* plan) {
  DS_CHECK(num_tokens > 0 && num_tokens <= prompt_left());
  DS_CHECK(num_given_tokens_ % kChunkTokens == 0);
  Segment segment;
  segment.kind = RowKind::kPrefill;
  segment.read_slot = segment.write_slot = slots_.front().index();
  segment.first_row = static_cast<int32_t>(plan->token_ids.size());
  segment.num_rows = num_tokens;
  segment.position = num_given_tokens_;
  plan->segments.push_back(segment);
  for (int i = 0; i < num_tokens; ++i) {
    const int32_t token = request_->prompt[num_given_tokens_ + i];
    plan->token_ids.push_back(token);
    penalties_.add_prompt_token(token);
  }
  num_given_tokens_ += num_tokens;
  return {segment.position, segment.first_row, segment.num_rows, 0};
}

void SequenceGroup::start_choices(StepRunner* runner, Sequences* decoding) {
  DS_CHECK(prompt_left() == 0 && slots_.size() == choices_.size());
  const int prompt_slot = slots_.front().index();
  for (size_t i = 0; i < choices_.size(); ++i) {
    const int slot = slots_[i].index();
    choices_[i]->start(penalties_, std::move(slots_[i]));
    if (slot != prompt_slot && choices_[i]->wants_row()) runner->copy_slot(prompt_slot, slot);
    decoding->push_back(std::move(choices_[i]));
  }
  choices_.clear();
  slots_.clear();
}

SteadyTime SequenceGroup::add_draws(Piece* piece, SteadyTime now, std::vector<Draw>* draws) {
  piece->num_targets = 0;
  if (unwanted()) return now;
  for (int i = 0; i < piece->num_rows; ++i) {
    const int64_t position = piece->position + i;
    if (!wants_target(position)) continue;
    Draw target;
    target.row = piece->first_row + i;
    target.target = request_->prompt[position + 1];
    target.num_top = request_->prompt_logprobs;
    draws->push_back(target);
    ++piece->num_targets;
  }
  if (!at_end(*piece)) return now;
  for (Sequence* choice : members_) {
    now = choice->prepare_draw(now);
    if (choice->wants_draw()) choice->add_draw(piece->first_row + piece->num_rows - 1, draws);
  }
  return now;
}

const DrawResult* SequenceGroup::commit(const Piece& piece, const DrawResult* results,
                                        SteadyTime now) {
  // The targets belong to the piece's first rows: only the prompt's last token has none.
  for (int i = 0; i < piece.num_targets; ++i, ++results) {
    const int32_t token = request_->prompt[piece.position + i + 1];
    for (Sequence* choice : members_) {
      if (choice->ended()) continue;
      choice->add_prompt_logprob(token_logprob(token, results->target_logprob, *results));
    }
  }
  for (Sequence* choice : members_) {
    if (!choice->ended()) choice->set_prompt_tokens_read(piece.position + piece.num_rows);
    if (!at_end(piece)) continue;
    if (choice->awaits_result()) {
      choice->commit(*results++, now);
    } else if (!choice->ended()) {
      choice->end_without_draw(now);
    }
  }
  return results;
}

}  // namespace deltaserve
