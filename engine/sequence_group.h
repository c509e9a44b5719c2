// A request with its n choices, from the queue to the first token of each. The prompt is read once;
// then every choice draws from the logits of its last row and continues with a copy of the state.
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

// Order of the calls for a step: append_rows(), then add_draws(), then commit() with the results.
// Another piece may be appended before the one before is committed. When the piece with the
// prompt's end is queued, call start_choices(); that piece is then committed like any other.
//
// Thread safety: one thread at a time; the submitting thread hands it to the engine's.
class SequenceGroup {
 public:
  // A piece of the prompt as a segment of a step.
  struct Piece {
    int64_t position = 0;  // of its first token in the prompt
    int32_t first_row = 0;
    int32_t num_rows = 0;
    int32_t num_targets = 0;  // draws that score the prompt; the draws of choices follow them
  };

  // Takes one stream per choice: stream i is for choice request.choice + i. The request must have
  // been checked. `context` must outlive the choices.
  SequenceGroup(GenerateRequest request, const SequenceContext* context,
                std::vector<std::shared_ptr<TokenStream>> streams, SteadyTime submitted);

  int32_t priority() const { return request_->priority; }
  SteadyTime deadline() const { return request_->deadline; }
  // Returns the number of choices that have not ended, until start_choices(). Once admitted, each
  // owns a slot.
  int num_choices() const { return static_cast<int>(choices_.size()); }
  // Returns the number of prompt tokens that are not in a step yet.
  int64_t prompt_left() const;
  // Returns true if a stream is full, so that the prompt waits for its reader: all choices receive
  // the prompt's results.
  bool paused() const;

  // Ends choices that were cancelled or are past their deadline, and moves them to *ended; their
  // slots are free. The others go on.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);

  // Takes a slot for every choice. The pool must have that many free.
  void admit(StatePool* pool, SteadyTime now);
  // Appends a segment of the prompt's next `num_tokens`.
  Piece append_rows(int num_tokens, StepPlan* plan);
  // Must be called once the step with the prompt's end is queued and before its draws are. Gives
  // every choice its slot, queues copies of the state for those that will decode, and moves all to
  // *decoding. The group must live until that step is committed.
  void start_choices(StepRunner* runner, Sequences* decoding);
  // Appends the draws for the piece's logits; none if all choices have ended. Returns the time when
  // it is done.
  SteadyTime add_draws(Piece* piece, SteadyTime now, std::vector<Draw>* draws);
  // Takes the results of the draws of add_draws() from the front of `results` and returns a pointer
  // behind them. Choices that have ended in the meantime are skipped.
  const DrawResult* commit(const Piece& piece, const DrawResult* results, SteadyTime now);

  // Returns the choices that receive the prompt's results, until the step with its end is
  // committed. Some of them may have ended after start_choices().
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
  Penalties penalties_;           // include the prompt tokens that are in steps
  int64_t num_given_tokens_ = 0;  // prompt tokens that are in steps
};

}  // namespace deltaserve
