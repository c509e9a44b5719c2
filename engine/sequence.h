// One answer to a request, from submission to its end: its counters, its finish rules and what it
// has to tell its reader. Its SequenceGroup reads the prompt for it; then it decodes in a slot.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/penalties.h"
#include "engine/request.h"
#include "engine/state_pool.h"
#include "engine/step_plan.h"
#include "engine/text_emitter.h"
#include "engine/token_mask.h"
#include "engine/token_stream.h"
#include "models/vocabulary.h"

namespace deltaserve {

// What the sequences of one engine share.
struct SequenceContext {
  const Vocabulary* vocabulary = nullptr;
  const std::vector<int32_t>* eos_token_ids = nullptr;
  int32_t vocab_size = 0;
};

// The only writer of its counters. It owes a draw for the last row of its prompt, from start() on,
// and for every row that append_row() puts into a step: prepare_draw(), add_draw(), then commit()
// with the result, then publish(). A row may be appended while the token of the row before is still
// under way; draws and results come in the order of the rows.
//
// Thread safety: one thread at a time; handed from the submitting thread to the engine's.
class Sequence {
 public:
  // `request` has been checked; its choice and constraint are not looked at, but those that follow.
  // `context` must outlive the sequence.
  Sequence(std::shared_ptr<const GenerateRequest> request, uint32_t choice,
           std::unique_ptr<TokenConstraint> constraint, const SequenceContext* context,
           std::shared_ptr<TokenStream> stream, SteadyTime submitted);

  bool ended() const { return finish_ != FinishReason::kNone; }
  FinishReason finish() const { return finish_; }
  int64_t num_generated_tokens() const { return num_generated_tokens_; }
  SteadyTime deadline() const { return request_->deadline; }
  const TokenStream& stream() const { return *stream_; }

  // Ends it now; text that was held back is dropped.
  void end(FinishReason finish, SteadyTime now);
  // Ends it if its reader cancelled or its deadline has passed, unless it has ended already.
  void end_if_unwanted(SteadyTime now);

  // ---- While the prompt is read

  void admit(SteadyTime now) { admitted_ = now; }
  void set_prompt_tokens_read(int64_t count) { prompt_tokens_read_ = count; }
  void add_prompt_logprob(TokenLogprob logprob);
  // The prompt's end is in a step. From there on it decodes in `slot`, which holds the state after
  // the prompt once the step has run. `penalties` know all of the prompt.
  void start(Penalties penalties, StateSlot slot);
  // After the prompt, where no draw was wanted.
  void end_without_draw(SteadyTime now);

  // ---- Draws

  // Not if the prompt is all that was asked for, or the constraint is fulfilled without a token.
  bool wants_draw() const;
  // Finds out which tokens may be drawn next; idempotent until commit(). Ends it with kError if
  // none. Needs all tokens before that draw. Returns the time when it is done: `now`, unless it had
  // to ask a constraint.
  SteadyTime prepare_draw(SteadyTime now);
  bool prepared() const { return prepared_; }
  // Then preparing takes its time.
  bool constrained() const { return constraint_ != nullptr; }
  // Asks for a draw from the logits of the step's row `row`. What the entry points to stays as it
  // is until commit().
  void add_draw(int32_t row, std::vector<Draw>* draws);
  // add_draw() was called and commit() was not.
  bool awaits_result() const { return awaits_result_; }
  // Takes the result of the draw that was asked for. One that has ended meanwhile only forgets the
  // draw.
  void commit(const DrawResult& result, SteadyTime now);

  // ---- Rows

  // A further row is of use: the tokens so far, with the one under way, do not end it by their
  // number.
  bool wants_row() const;
  // Its newest token is not known yet: the step that brings it was not committed.
  bool token_under_way() const { return num_under_way_ > 0; }
  // How long the next mask may be expected to take, from those before. A slow one is forgotten
  // by halves.
  std::chrono::nanoseconds expected_mask_time() const { return expected_mask_time_; }
  // The row after the token under way may be appended though its mask cannot be made yet.
  void let_run_ahead() { may_run_ahead_ = true; }
  // append_row() may be called. An unprepared sequence whose token is known has to be prepared
  // first: a row that is computed has to be drawn from, since its logits are gone with the step.
  bool ready_for_row() const;
  // Appends the newest token as a segment of one row, and returns the row.
  int32_t append_row(StepPlan* plan);
  // What comes to the slot next is queued behind all steps that the sequence is in, so nobody has
  // to wait for them. Idempotent.
  void release_slot() { slot_.release(); }

  // Pushes what happened since the last time.
  void publish();

 private:
  bool update_mask();
  bool is_eos(int32_t token) const;
  FinishReason take_token(int32_t token);
  bool emit(int32_t token);
  bool finish_text();
  void set_durations(SteadyTime now);

  const std::shared_ptr<const GenerateRequest> request_;
  const uint32_t choice_;
  const std::unique_ptr<TokenConstraint> constraint_;
  const SequenceContext& context_;
  const std::shared_ptr<TokenStream> stream_;
  const SteadyTime submitted_;
  std::optional<SteadyTime> admitted_;
  std::optional<SteadyTime> first_token_;
  SteadyTime newest_token_;

  Penalties penalties_;
  std::optional<TokenMask> mask_;  // if the request may need one
  bool masked_ = false;            // the next draw is
  bool prepared_ = false;          // for the next draw
  bool awaits_result_ = false;
  bool may_run_ahead_ = false;
  std::chrono::nanoseconds expected_mask_time_{0};

  TextEmitter emitter_;
  StateSlot slot_;
  int64_t prompt_tokens_read_ = 0;
  int64_t num_generated_tokens_ = 0;  // committed
  int num_under_way_ = 0;             // tokens that steps which are not committed will bring
  int32_t last_token_ = -1;           // committed
  FinishReason finish_ = FinishReason::kNone;
  TokenUpdate update_;  // since the last publish()
};

using Sequences = std::vector<std::unique_ptr<Sequence>>;

// Of the result's row: `token` with the most likely ones that were asked for.
TokenLogprob token_logprob(int32_t token, float logprob, const DrawResult& result);

}  // namespace deltaserve
