// One answer to a request, from submission to its end: its counters, its finish rules and its
// updates for the reader. Its SequenceGroup reads the prompt for it; then it decodes in a slot.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/reuse/reuse.h"
#include "engine/sequence/penalties.h"
#include "engine/sequence/request.h"
#include "engine/sequence/text_emitter.h"
#include "engine/sequence/token_mask.h"
#include "engine/sequence/token_stream.h"
#include "engine/step/state_pool.h"
#include "engine/step/step_plan.h"
#include "models/tokenizer/base/vocabulary.h"

namespace deltaserve {

// The settings that all sequences of one engine share.
struct SequenceContext {
  const Vocabulary* vocabulary = nullptr;
  const std::vector<int32_t>* eos_token_ids = nullptr;
  int32_t vocab_size = 0;
  ModelFingerprint fingerprint = {};
  // For embeddings: the final norm, and memory for the hidden states of a step's draws, each at the
  // place of its draw, [rows of a step, hidden]. It is null if the runner has no hidden states.
  const FinalNorm* final_norm = nullptr;
  float* hidden_rows = nullptr;
};

// Only this class writes its counters. Order of the calls: from start() on, it must draw from the
// last row of its prompt, and from every row that append_row() adds to a step: prepare_draw(),
// add_draw(), then commit() with the result, then publish(). A row may be appended while the token
// of the row before is still being computed; draws and results come in the order of the rows.
//
// Thread safety: one thread at a time; the submitting thread hands it to the engine's.
class Sequence {
 public:
  // `request` must have been checked; `choice` and `constraint` replace the request's fields.
  // `context` must outlive the sequence.
  Sequence(std::shared_ptr<const GenerateRequest> request, uint32_t choice,
           std::unique_ptr<TokenConstraint> constraint, const SequenceContext* context,
           std::shared_ptr<TokenStream> stream, SteadyTime submitted);

  bool ended() const { return finish_ != FinishReason::kNone; }
  FinishReason finish() const { return finish_; }
  SteadyTime deadline() const { return request_->deadline; }
  bool read_ahead() const { return request_->reuse.read_ahead; }
  uint64_t list() const { return request_->list; }
  const TokenStream& stream() const { return *stream_; }

  // Ends the sequence now; text that was held back is dropped.
  void end(FinishReason finish, SteadyTime now);
  // Ends the sequence if its reader cancelled or its deadline has passed. Does nothing if it has
  // ended.
  void end_if_unwanted(SteadyTime now);
  // Ends the sequence if its reader has taken nothing since `last` or longer.
  void end_if_unread(SteadyTime last, SteadyTime now);

  // ---- While the prompt is read

  void admit(SteadyTime now) { admitted_ = now; }
  void set_prompt_tokens_read(int64_t count) { prompt_tokens_read_ = count; }
  // Sets how many of the prompt's tokens came from a kept state.
  void set_prompt_tokens_reused(int64_t count) {
    prompt_tokens_read_ = prompt_tokens_reused_ = count;
  }
  void add_prompt_logprob(TokenLogprob logprob);
  // Starts decoding in `slot`, once the prompt's end is in a step; the slot holds the state after
  // the prompt when that step has run. `penalties` must know the whole prompt.
  void start(Penalties penalties, StateSlot slot);
  // Ends the sequence with the prompt's embedding.
  void end_with_embedding(std::vector<float> embedding, SteadyTime now);
  // Ends the sequence after the prompt, for requests that want no draw.
  void end_without_draw(SteadyTime now);

  // ---- Draws

  // Returns false if the request only reads the prompt or its constraint is fulfilled without a
  // token.
  bool wants_draw() const;
  // Computes which tokens may be drawn next; idempotent until commit(). Ends the sequence with
  // kError if there are none. Requires all tokens before that draw. Returns the time when it is
  // done, which is `now` unless a constraint was asked.
  SteadyTime prepare_draw(SteadyTime now);
  bool prepared() const { return prepared_; }
  // Returns true if the request has a constraint, so that prepare_draw() takes time.
  bool constrained() const { return constraint_ != nullptr; }
  // Appends a draw from the logits of the step's row `row`. The memory its pointers refer to does
  // not change until commit().
  void add_draw(int32_t row, std::vector<Draw>* draws);
  // Returns true between add_draw() and commit().
  bool awaits_result() const { return awaits_result_; }
  // Takes the result of the draw. If the sequence has ended in the meantime, the result is dropped.
  void commit(const DrawResult& result, SteadyTime now);

  // ---- Rows

  // Returns true if another row is useful: the tokens so far, including one being computed, do not
  // yet reach max_tokens.
  bool wants_row() const;
  // Returns true if the newest token is not known yet because its step was not committed.
  bool token_under_way() const { return num_under_way_ > 0; }
  // Returns the expected duration of the next mask, estimated from those before. The estimate of a
  // slow mask decays by halves.
  std::chrono::nanoseconds expected_mask_time() const { return expected_mask_time_; }
  // Allows a row after the unknown token, although its mask cannot be computed yet.
  void let_run_ahead() { may_run_ahead_ = true; }
  // Returns true if append_row() may be called. A sequence whose token is known must be prepared
  // first: a computed row must be drawn from, because its logits exist only during the step.
  bool ready_for_row() const;
  // Appends the newest token as a segment of one row, and returns the index of the row.
  int32_t append_row(StepPlan* plan);
  // Gives the slot back; idempotent. There is no need to wait, because work for the slot's next
  // owner is queued after all steps of this sequence.
  void release_slot() { slot_.release(); }

  // Sends the reader all updates since the last call.
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
  std::optional<TokenMask> mask_;  // present if the request may need one
  bool masked_ = false;            // the next draw uses mask_
  bool prepared_ = false;          // prepare_draw() was done for the next draw
  bool awaits_result_ = false;
  bool may_run_ahead_ = false;
  std::chrono::nanoseconds expected_mask_time_{0};

  TextEmitter emitter_;
  StateSlot slot_;
  int64_t prompt_tokens_read_ = 0;
  int64_t prompt_tokens_reused_ = 0;
  int64_t num_generated_tokens_ = 0;  // committed
  int num_under_way_ = 0;             // tokens of queued steps that are not committed
  int32_t last_token_ = -1;           // committed
  FinishReason finish_ = FinishReason::kNone;
  TokenUpdate update_;  // since the last publish()
};

using Sequences = std::vector<std::unique_ptr<Sequence>>;

// Describes `token`, drawn or scored, with the row's most likely tokens as requested.
TokenLogprob token_logprob(int32_t token, float logprob, const DrawResult& result);

}  // namespace deltaserve
