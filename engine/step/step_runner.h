// A StepRunner is what the engine sees of a model. ModelRunner implements it for Model; tests have
// their own.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/base/check.h"
#include "kernels/program/step.h"
#include "models/base/final_norm.h"

namespace deltaserve {

// Only the engine thread calls this; the sizes are constant. Work is queued in the order of the
// calls and may run later. A step is forward(), draw(), wait(). The next step's forward() may come
// between draw() and wait() if steps_ahead() allows it; its draw() comes after wait().
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int max_rows() const = 0;       // rows per step; also the most draws
  virtual int max_sequences() const = 0;  // state slots, from 0
  virtual int max_snapshots() const = 0;  // slots after those, for states that are kept
  virtual int32_t vocab_size() const = 0;
  // Returns the norm for hidden states (Draw::hidden); if it has no weights, draws must not request
  // them.
  virtual const FinalNorm& final_norm() const = 0;
  // Returns how many forward passes may be queued beyond the step that is waited for next. It is 0
  // if forward() itself computes.
  virtual int steps_ahead() const = 0;
  // Queues the forward pass of a step. Copies its arguments.
  virtual Ticket forward(const Step& step) = 0;
  // Queues the draws of the step that was queued last. Must be called once per step, before the
  // next forward(); there may be no draws. Draws are in the order of their rows. The memory they
  // point to must not change until wait() returns; the span itself is copied.
  virtual void draw(Ticket ticket, std::span<const Draw> draws) = 0;
  // Blocks until the step and its draws are done. `results` receives one entry for each draw.
  virtual void wait(Ticket ticket, std::span<DrawResult> results) = 0;
  // Queues a copy of slot `from`, as it is after the work queued so far, to slot `to`. Which token
  // was drawn for `to` is unknown afterwards.
  virtual void copy_slot(int from, int to) = 0;
  // Queues the release of the memory of `count` slots from `first` on, if it is the machine's,
  // until they are written again.
  virtual void drop_slots(int /*first*/, int /*count*/) {}

  // ---- Slots in the host's memory, for kept states of a device with memory of its own. Backend
  // says when these copies run.

  virtual int max_host_snapshots() const { return 0; }
  // Queues a copy of slot `from` to the host's slot `to`.
  virtual void store_slot(int /*from*/, int /*to*/) { DS_CHECK(false); }
  // Queues a copy of the host's slot `from` to slot `to`.
  virtual void load_slot(int /*from*/, int /*to*/) { DS_CHECK(false); }
  // Returns whether a step that reads the slot can begin without waiting for load_slot().
  virtual bool slot_is_loaded(int /*slot*/) { return true; }
};

}  // namespace deltaserve
