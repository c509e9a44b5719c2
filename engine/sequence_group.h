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

// In a step: append_rows(), then commit() with the results; once the prompt is read,
// start_choices().
//
// Thread safety: one thread at a time; handed from the submitting thread to the engine's.
class SequenceGroup {
 public:
  // One choice for each stream: choice i is request.choice + i. The request has been checked.
  // `context` must outlive the choices.
  SequenceGroup(GenerateRequest request, const SequenceContext* context,
                std::vector<std::shared_ptr<TokenStream>> streams, SteadyTime submitted);

  int32_t priority() const { return request_->priority; }
  SteadyTime deadline() const { return request_->deadline; }
  // Those that have not ended; each owns a slot once admitted.
  int num_choices() const { return static_cast<int>(choices_.size()); }
  // Prompt tokens not yet read.
  int64_t prompt_left() const;
  // A stream is full, so the prompt waits for its reader: all choices hear of the prompt.
  bool paused() const;

  // Ends the choices that nobody wants any more, or that time has run out for, and moves them to
  // *ended; their slots are free. The others are not concerned.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);

  // The pool has a free slot for every choice.
  void admit(StatePool* pool, SteadyTime now);
  // Appends a segment of the prompt's next `num_tokens`, and what is wanted of their logits.
  void append_rows(int num_tokens, SteadyTime now, StepPlan* plan, std::vector<Draw>* head_rows);
  // Takes the results of what append_rows() asked for, from the front of `results`, and returns
  // the first that is not its own.
  const DrawResult* commit(int num_tokens, const DrawResult* results, SteadyTime now);
  // After the whole prompt: copies the state for every choice that goes on. Nothing is left here.
  void start_choices(StepRunner* runner, Sequences* decoding, Sequences* ended);

  // Between admission and start_choices().
  const Sequences& choices() const { return choices_; }

 private:
  bool wants_target(int64_t position) const;
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_->prompt.size()); }

  std::shared_ptr<const GenerateRequest> request_;
  const SequenceContext& context_;
  Sequences choices_;
  std::vector<StateSlot> slots_;  // one for each of choices_; the first reads the prompt
  Penalties penalties_;           // know the prompt as far as it was given to steps
  int64_t num_computed_tokens_ = 0;
};

}  // namespace deltaserve
