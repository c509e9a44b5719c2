// A request with its n choices, from the queue to the first token of each. The prompt is read once;
// then every choice draws from the logits of its last row and goes on with a copy of the state.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/penalties.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/state_pool.h"
#include "engine/step_plan.h"
#include "engine/step_runner.h"

namespace deltaserve {

// In a step: append_rows(), then add_draws(), then commit() with the results. A further piece may
// be appended before the one before is committed. When the piece with the prompt's end is queued,
// start_choices(); that piece is then committed as any other.
//
// Thread safety: one thread at a time; handed from the submitting thread to the engine's.
class SequenceGroup {
 public:
  // A piece of the prompt as a segment of a step.
  struct Piece {
    int64_t position = 0;  // in the prompt
    int32_t first_row = 0;
    int32_t num_rows = 0;
    int32_t num_targets = 0;  // draws that score the prompt; those of choices come behind them
  };

  // One choice for each stream: choice i is request.choice + i. The request has been checked.
  // `context` must outlive the choices.
  SequenceGroup(GenerateRequest request, const SequenceContext* context,
                std::vector<std::shared_ptr<TokenStream>> streams, SteadyTime submitted);

  int32_t priority() const { return request_->priority; }
  SteadyTime deadline() const { return request_->deadline; }
  // Those that have not ended, until start_choices(); each owns a slot once admitted.
  int num_choices() const { return static_cast<int>(choices_.size()); }
  // Prompt tokens that no step was given yet.
  int64_t prompt_left() const;
  // A stream is full, so the prompt waits for its reader: all choices hear of the prompt.
  bool paused() const;

  // Ends the choices that nobody wants any more, or that time has run out for, and moves them to
  // *ended; their slots are free. The others are not concerned.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);

  // The pool has a free slot for every choice.
  void admit(StatePool* pool, SteadyTime now);
  // Appends a segment of the prompt's next `num_tokens`.
  Piece append_rows(int num_tokens, StepPlan* plan);
  // Once the step with the prompt's end is queued and before its draws are: every choice gets its
  // slot, copies of the state are queued for those that may go on, and all move to *decoding. The
  // group has to live on until that step is committed.
  void start_choices(StepRunner* runner, Sequences* decoding);
  // Asks for what is wanted of the piece's logits: nothing if all choices have ended. Returns the
  // time when it is done.
  SteadyTime add_draws(Piece* piece, SteadyTime now, std::vector<Draw>* draws);
  // Takes the results of what add_draws() asked for, from the front of `results`, and returns the
  // first that is not its own. Choices that have ended meanwhile are passed over.
  const DrawResult* commit(const Piece& piece, const DrawResult* results, SteadyTime now);

  // Who hears of the prompt, until the step with its end is committed. Some of them may have ended
  // after start_choices().
  const std::vector<Sequence*>& members() const { return members_; }

 private:
  bool wants_target(int64_t position) const;
  bool at_end(const Piece& piece) const;
  bool unwanted() const;
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_->prompt.size()); }

  std::shared_ptr<const GenerateRequest> request_;
  const SequenceContext& context_;
  Sequences choices_;
  std::vector<Sequence*> members_;
  std::vector<StateSlot> slots_;  // one for each of choices_; the first reads the prompt
  Penalties penalties_;           // know the prompt as far as it was given to steps
  int64_t num_given_tokens_ = 0;  // to steps
};

}  // namespace deltaserve
