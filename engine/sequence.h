// One answer to a request, from submission to its end: its counters, its finish rules and what it
// has to tell its reader. Its SequenceGroup reads the prompt for it; then it decodes in a slot.
#pragma once
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

// The only writer of its counters. Before a draw prepare_draw(), then add_draw() or append_row(),
// then commit() with the result, then publish().
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
  // Ends it if its reader cancelled or its deadline has passed.
  void end_if_unwanted(SteadyTime now);

  // ---- While the prompt is read

  void admit(SteadyTime now) { admitted_ = now; }
  void set_prompt_tokens_read(int64_t count) { prompt_tokens_read_ = count; }
  void add_prompt_logprob(TokenLogprob logprob);
  // The prompt is about to be read to its end. `penalties` know all of it.
  void start(Penalties penalties);
  // After the prompt, where no draw was wanted.
  void end_without_draw(SteadyTime now);

  // ---- Draws

  // Not if the prompt is all that was asked for, or the constraint is fulfilled without a token.
  bool wants_draw() const;
  // Finds out which tokens may be drawn; idempotent until commit(). Ends it with kError if none.
  void prepare_draw(SteadyTime now);
  bool prepared() const { return prepared_; }
  // Then preparing takes its time.
  bool constrained() const { return constraint_ != nullptr; }
  // Asks for a draw from the logits of the step's row `row`. What the entry points to stays as it
  // is until commit().
  void add_draw(int32_t row, std::vector<Draw>* head_rows) const;
  // Where it decodes. Its state is that after the prompt.
  void take_slot(StateSlot slot) { slot_ = std::move(slot); }
  // Idempotent.
  void release_slot() { slot_.release(); }
  // The drawn token as a segment of one row, and the draw of the next.
  void append_row(StepPlan* plan, std::vector<Draw>* head_rows) const;
  void commit(const DrawResult& result, SteadyTime now);

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

  TextEmitter emitter_;
  StateSlot slot_;
  int64_t prompt_tokens_read_ = 0;
  int64_t num_generated_tokens_ = 0;
  int32_t last_token_ = -1;  // generated, to be fed next
  FinishReason finish_ = FinishReason::kNone;
  TokenUpdate update_;  // since the last publish()
};

using Sequences = std::vector<std::unique_ptr<Sequence>>;

// Of the result's row: `token` with the most likely ones that were asked for.
TokenLogprob token_logprob(int32_t token, float logprob, const DrawResult& result);

}  // namespace deltaserve
