#include "engine/sequence/sequence_group.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

SequenceGroup::SequenceGroup(GenerateRequest request, const SequenceContext* context,
                             std::vector<std::shared_ptr<TokenStream>> streams,
                             SteadyTime submitted, uint64_t arrival)
    : context_(*context),
      arrival_(arrival),
      keys_(prefix_keys(context->fingerprint, request.reuse, request.prompt)) {
  std::unique_ptr<TokenConstraint> constraint = std::move(request.constraint);
  request_ = std::make_shared<const GenerateRequest>(std::move(request));
  pooler_ = Pooler(request_->pooling);
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

// Makes the group of a choice for which no slot was free when `first` had read the prompt.
SequenceGroup::SequenceGroup(const SequenceGroup& first, std::unique_ptr<Sequence> choice,
                             bool lets_others_pass)
    : request_(first.request_),
      context_(first.context_),
      arrival_(first.arrival_),
      keys_(first.keys_),
      first_reading_(false),
      lets_others_pass_(lets_others_pass),
      source_(first.newest_.pin_again()) {
  members_.push_back(choice.get());
  choices_.push_back(std::move(choice));
}

bool SequenceGroup::paused() const {
  return std::any_of(choices_.begin(), choices_.end(),
                     [](const auto& choice) { return choice->stream().full(); });
}

void SequenceGroup::end_unwanted(SteadyTime now, Sequences* ended) {
  for (const auto& choice : choices_) choice->end_if_unwanted(now);
  remove_ended(ended);
}

void SequenceGroup::end_unread(SteadyTime last, SteadyTime now, Sequences* ended) {
  for (const auto& choice : choices_) choice->end_if_unread(last, now);
  remove_ended(ended);
}

void SequenceGroup::remove_ended(Sequences* ended) {
  std::erase_if(members_, [](const Sequence* choice) { return choice->ended(); });
  const auto kept = std::stable_partition(choices_.begin(), choices_.end(),
                                          [](const auto& choice) { return !choice->ended(); });
  std::move(kept, choices_.end(), std::back_inserter(*ended));
  choices_.erase(kept, choices_.end());
  if (choices_.empty()) release_states();
}

void SequenceGroup::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (auto& choice : choices_) {
    choice->end(finish, now);
    ended->push_back(std::move(choice));
  }
  choices_.clear();
  members_.clear();
  release_states();
}

void SequenceGroup::release_states() {
  slot_.release();
  source_.release();
  newest_.release();
}

SequenceGroup::Admission SequenceGroup::admit(StatePool* pool, PrefixIndex* index, SteadyTime now) {
  slot_ = pool->acquire();
  DS_CHECK(slot_);
  for (const auto& choice : choices_) choice->admit(now);
  Admission found;
  if (first_reading_) found = look_up(index, now);
  if (source_) {
    num_given_tokens_ = source_.position();
    source_slot_ = index->slot_to_read(source_, slot_.index(), now);
  }
  penalties_ = Penalties(request_->sampling, context_.vocab_size);
  for (int64_t i = 0; i < num_given_tokens_; ++i) penalties_.add_prompt_token(request_->prompt[i]);
  if (!first_reading_) return found;
  found.reused = num_given_tokens_;
  for (const auto& choice : choices_) choice->set_prompt_tokens_reused(num_given_tokens_);
  return found;
}

// Chooses the state to begin with and the states to keep.
SequenceGroup::Admission SequenceGroup::look_up(PrefixIndex* index, SteadyTime now) {
  Admission found;
  // Log-probabilities of the prompt, and the mean of its hidden states, need all of its rows.
  found.bypassed = request_->prompt_logprobs >= 0 || request_->pooling == Pooling::kMean;
  if (!found.bypassed && index->shares()) {
    PrefixIndex::Found prefix = index->find(keys_, now);
    found.seen = prefix.seen;
    source_ = std::move(prefix.pin);
    if (choices_.size() > 1) newest_ = source_.pin_again();
  }
  index->see(keys_);
  const int64_t begin = source_ ? source_.position() : 0;
  if (index->shares()) {
    keep_ =
        keep_points(num_prompt_tokens(), begin, found.seen, read_ahead(), request_->reuse.marks);
  } else if (index->keeps() && choices_.size() > 1 && !keys_->empty()) {
    // Only its own further choices can begin there.
    keep_.push_back({static_cast<int64_t>(keys_->size()) * kChunkTokens, SnapshotKind::kPromptEnd});
  }
  return found;
}

// Returns true if the row at `position` scores the token after it, or is pooled.
bool SequenceGroup::wants_target(int64_t position) const {
  const bool scores = request_->prompt_logprobs >= 0 && position + 1 < num_prompt_tokens();
  return first_reading_ && (scores || pooler_.wants(position, num_prompt_tokens()));
}

// Returns the draw of the row at `position`, without its place in the step.
Draw SequenceGroup::target_draw(int64_t position) const {
  Draw draw;
  if (request_->prompt_logprobs < 0) return draw;
  draw.target = request_->prompt[position + 1];
  draw.num_top = request_->prompt_logprobs;
  return draw;
}

bool SequenceGroup::at_end(const Piece& piece) const {
  return piece.position + piece.num_rows == num_prompt_tokens();
}

bool SequenceGroup::unwanted() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Sequence* choice) { return choice->ended(); });
}

// Returns the slot for the state to be kept after the last grid point of a piece with *num_tokens
// tokens; -1 = none. Ends the piece earlier where a state is kept inside it.
int32_t SequenceGroup::keep_slot(int* num_tokens, PrefixIndex* index, SteadyTime now,
                                 StepPlan* plan) {
  const int64_t end = num_given_tokens_ + *num_tokens;
  while (!keep_.empty() && keep_.front().position <= end) {
    const KeepPoint point = keep_.front();
    keep_.erase(keep_.begin());
    // Further choices that get no slot begin at the last of these states.
    const double uses = keep_.empty() ? static_cast<double>(choices_.size() - 1) : 0;
    const int64_t before = newest_ ? newest_.position() : 0;
    newest_.release();  // it may make room
    SnapshotPin pin =
        index->keep(keys_, point.position, point.kind, request_->reuse.owner, uses, now);
    if (choices_.size() > 1) newest_ = index->pin(keys_, point.position);
    if (!newest_ && before > 0) newest_ = index->pin(keys_, before);
    if (!pin) continue;
    if (point.position < end / kChunkTokens * kChunkTokens) {
      *num_tokens = static_cast<int>(point.position - num_given_tokens_);
    }
    const int32_t slot = pin.slot();
    plan->pins.push_back(std::move(pin));
    return slot;
  }
  return -1;
}

SequenceGroup::Piece SequenceGroup::append_rows(int num_tokens, PrefixIndex* index, SteadyTime now,
                                                StepPlan* plan) {
  DS_CHECK(num_tokens > 0 && num_tokens <= prompt_left());
  DS_CHECK(num_given_tokens_ % kChunkTokens == 0);
  Segment segment;
  segment.kind = RowKind::kPrefill;
  segment.read_slot = segment.write_slot = slot_.index();
  if (source_) {
    segment.read_slot = source_slot_;
    plan->pins.push_back(std::move(source_));
  }
  segment.keep_slot = keep_slot(&num_tokens, index, now, plan);
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

void SequenceGroup::start_choices(StatePool* pool, StepRunner* runner, Sequences* decoding,
                                  std::vector<std::unique_ptr<SequenceGroup>>* waiting) {
  DS_CHECK(prompt_left() == 0 && choices_.size() == members_.size());
  const int prompt_slot = slot_.index();
  int before = 0;  // choices
  for (auto& choice : choices_) {
    const bool lets_others_pass = before++ >= pool->num_slots();
    const bool first = static_cast<bool>(slot_);
    StateSlot slot = first ? std::move(slot_) : StateSlot();
    if (!first && choice->wants_draw()) {
      slot = pool->acquire();
      if (!slot) {
        waiting->push_back(std::unique_ptr<SequenceGroup>(
            new SequenceGroup(*this, std::move(choice), lets_others_pass)));
        continue;
      }
      // A copy of a slot that starts to decode only; the draw of its first token needs none.
      if (request_->max_tokens > 1) runner->copy_slot(prompt_slot, slot.index());
    }
    choice->start(penalties_, std::move(slot));
    decoding->push_back(std::move(choice));
    ++num_started_;
  }
  choices_.clear();
  newest_.release();
}

SteadyTime SequenceGroup::add_draws(Piece* piece, SteadyTime now, std::vector<Draw>* draws) {
  piece->num_targets = 0;
  piece->first_draw = static_cast<int32_t>(draws->size());
  if (unwanted()) return now;
  for (int i = 0; i < piece->num_rows; ++i) {
    const int64_t position = piece->position + i;
    if (!wants_target(position)) continue;
    Draw target = target_draw(position);
    target.row = piece->first_row + i;
    if (request_->pooling != Pooling::kNone) {
      target.hidden = context_.hidden_rows + draws->size() * context_.final_norm->weight.size();
    }
    draws->push_back(target);
    ++piece->num_targets;
  }
  if (!at_end(*piece)) return now;
  for (size_t i = 0; i < num_started_; ++i) {
    Sequence* const choice = members_[i];
    now = choice->prepare_draw(now);
    if (choice->wants_draw()) choice->add_draw(piece->first_row + piece->num_rows - 1, draws);
  }
  return now;
}

// Takes the result of the piece's draw `index`. Rows that score the prompt are the piece's first,
// because only the prompt's last has none.
void SequenceGroup::take_target(const Piece& piece, int32_t index, const DrawResult& result) {
  if (request_->pooling != Pooling::kNone) {
    const size_t hidden = context_.final_norm->weight.size();
    const size_t draw = static_cast<size_t>(piece.first_draw) + static_cast<size_t>(index);
    return pooler_.add({context_.hidden_rows + draw * hidden, hidden}, *context_.final_norm);
  }
  const int32_t token = request_->prompt[piece.position + index + 1];
  for (Sequence* choice : members_) {
    if (choice->ended()) continue;
    choice->add_prompt_logprob(token_logprob(token, result.target_logprob, result));
  }
}

const DrawResult* SequenceGroup::commit(const Piece& piece, const DrawResult* results,
                                        SteadyTime now) {
  for (int i = 0; i < piece.num_targets; ++i, ++results) take_target(piece, i, *results);
  for (Sequence* choice : members_) {
    if (first_reading_ && !choice->ended()) {
      choice->set_prompt_tokens_read(piece.position + piece.num_rows);
    }
  }
  if (!at_end(piece)) return results;
  for (size_t i = 0; i < num_started_; ++i) {
    Sequence* const choice = members_[i];
    if (choice->awaits_result()) {
      choice->commit(*results++, now);
    } else if (!choice->ended() && request_->pooling != Pooling::kNone) {
      choice->end_with_embedding(pooler_.result(), now);
    } else if (!choice->ended()) {
      choice->end_without_draw(now);
    }
  }
  return results;
}

}  // namespace deltaserve
