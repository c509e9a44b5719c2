// A request with its n choices, from the queue to the first token of each. The prompt is read once,
// from a kept state on if there is one. Then every choice that has a slot draws from the logits of
// the prompt's last row and continues with a copy of the state. A choice without a slot waits for
// one as a group of its own, which begins at the last kept state of the prompt.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/reuse/keep_points.h"
#include "engine/reuse/prefix_index.h"
#include "engine/reuse/prefix_keys.h"
#include "engine/sequence/penalties.h"
#include "engine/sequence/pooling.h"
#include "engine/sequence/request.h"
#include "engine/sequence/sequence.h"
#include "engine/step/state_pool.h"
#include "engine/step/step_plan.h"
#include "engine/step/step_runner.h"

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
    // Draws of the prompt's own rows, which score or pool them; the draws of choices follow them.
    int32_t num_targets = 0;
    int32_t first_draw = 0;  // place of the first of these among the step's draws
  };

  // Takes one stream per choice: stream i is for choice request.choice + i. The request must have
  // been checked. `context` must outlive the choices. `arrival` orders requests.
  SequenceGroup(GenerateRequest request, const SequenceContext* context,
                std::vector<std::shared_ptr<TokenStream>> streams, SteadyTime submitted,
                uint64_t arrival = 0);

  int32_t priority() const { return request_->priority; }
  uint64_t arrival() const { return arrival_; }
  void set_arrival(uint64_t arrival) { arrival_ = arrival; }
  bool read_ahead() const { return request_->reuse.read_ahead; }
  const PrefixOwner& owner() const { return request_->reuse.owner; }
  SteadyTime deadline() const { return request_->deadline; }
  // Returns the number of choices that have not ended, until start_choices().
  int num_choices() const { return static_cast<int>(choices_.size()); }
  // Returns the number of prompt tokens that are not in a step yet.
  int64_t prompt_left() const { return num_prompt_tokens() - num_given_tokens_; }
  // Returns true if a stream is full, so that the prompt waits for its reader: all choices receive
  // the prompt's results.
  bool paused() const;
  // Returns true while the state to begin with is still on its way from the host's memory.
  bool loading(StepRunner* runner) const {
    return source_ && !runner->slot_is_loaded(source_slot_);
  }
  // Returns false if the group reads the prompt's end again for a choice that had no slot.
  bool first_reading() const { return first_reading_; }
  // Returns true if as many choices of the request as there are slots come before this one: then
  // other requests of the same priority go before it.
  bool lets_others_pass() const { return lets_others_pass_; }

  // Ends choices that were cancelled or are past their deadline, and moves them to *ended; their
  // slots are free. The others go on.
  void end_unwanted(SteadyTime now, Sequences* ended);
  // Does the same with choices whose reader has taken nothing since `last` or longer.
  void end_unread(SteadyTime last, SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);

  // Takes a slot in which to read the prompt; the pool must have one. Looks up the prompt's kept
  // states in `index` and chooses which states to keep. Returns the result of the look-up.
  struct Admission {
    int64_t reused = 0;     // tokens that a kept state has read
    int64_t seen = 0;       // tokens with which an earlier prompt began
    bool bypassed = false;  // the request needs every row of its prompt
  };
  Admission admit(StatePool* pool, PrefixIndex* index, SteadyTime now);
  // Appends a segment of the prompt's next tokens, at most `num_tokens`; fewer where a state is
  // kept on the way. The states that the segment reads and writes are pinned in the plan.
  Piece append_rows(int num_tokens, PrefixIndex* index, SteadyTime now, StepPlan* plan);
  // Must be called once the step with the prompt's end is queued and before its draws are. Gives
  // slots to as many choices as it can, queues copies of the state for those that will decode, and
  // moves these choices to *decoding. Each of the others becomes a group in *waiting. The group
  // must live until that step is committed.
  void start_choices(StatePool* pool, StepRunner* runner, Sequences* decoding,
                     std::vector<std::unique_ptr<SequenceGroup>>* waiting);
  // Appends the draws for the piece's logits; none if all choices have ended. Returns the time when
  // it is done.
  SteadyTime add_draws(Piece* piece, SteadyTime now, std::vector<Draw>* draws);
  // Takes the results of the draws of add_draws() from the front of `results` and returns a pointer
  // after them. Choices that have ended in the meantime are skipped.
  const DrawResult* commit(const Piece& piece, const DrawResult* results, SteadyTime now);

  // Returns the choices that receive the prompt's results, until the step with its end is
  // committed. Some of them may have ended after start_choices().
  const std::vector<Sequence*>& members() const { return members_; }

 private:
  SequenceGroup(const SequenceGroup& first, std::unique_ptr<Sequence> choice,
                bool lets_others_pass);

  Admission look_up(PrefixIndex* index, SteadyTime now);
  void remove_ended(Sequences* ended);
  void release_states();
  int32_t keep_slot(int* num_tokens, PrefixIndex* index, SteadyTime now, StepPlan* plan);
  bool wants_target(int64_t position) const;
  Draw target_draw(int64_t position) const;
  void take_target(const Piece& piece, int32_t index, const DrawResult& result);
  bool at_end(const Piece& piece) const;
  bool unwanted() const;
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_->prompt.size()); }

  std::shared_ptr<const GenerateRequest> request_;
  const SequenceContext& context_;
  uint64_t arrival_;
  PrefixKeys keys_;
  bool first_reading_ = true;
  bool lets_others_pass_ = false;
  Sequences choices_;
  std::vector<Sequence*> members_;  // in the order of choices_
  size_t num_started_ = 0;          // this many of the first members_ draw from the prompt's last
                                    // row
  StateSlot slot_;                  // from admission to start_choices()
  SnapshotPin source_;              // the state to begin with, until the first piece is planned
  int source_slot_ = -1;            // the slot from which it is read
  SnapshotPin newest_;              // the last state that was kept of this prompt or reused for it
  std::vector<KeepPoint> keep_;     // still to come, in order
  Pooler pooler_;                   // has the prompt rows that are committed
  Penalties penalties_;             // know the prompt tokens given so far
  int64_t num_given_tokens_ = 0;    // prompt tokens in steps so far, or reused
};

}  // namespace deltaserve
