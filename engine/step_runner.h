// What the engine needs of a model. Model is one through ModelRunner; tests bring their own.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/program/step.h"

namespace deltaserve {

// Called by the engine thread only; the sizes are constant. Work is queued in the order of the
// calls and may run later. A step is forward(), draw(), wait(); the next step's forward() may come
// between draw() and wait() where steps_ahead() says so, its draw() comes after.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int max_rows() const = 0;       // of one step; it has no more draws either
  virtual int max_sequences() const = 0;  // state slots
  virtual int32_t vocab_size() const = 0;
  // How many forward passes may be queued beyond the step that is waited for next. 0 where
  // forward() itself computes.
  virtual int steps_ahead() const = 0;
  // Queues the forward pass. Copies what it is given.
  virtual Ticket forward(const Step& step) = 0;
  // Queues the draws of the step that was queued last: once a step, before the next forward(), and
  // none is fine. Draws are in the order of their rows. What they point to stays as it is until
  // wait() returns; the span itself is copied.
  virtual void draw(Ticket ticket, std::span<const Draw> draws) = 0;
  // Blocks until the step and its draws are done. One result for each draw.
  virtual void wait(Ticket ticket, std::span<DrawResult> results) = 0;
  // Queues a copy: what slot `from` holds after the work that is queued, `to` goes on with. Which
  // token was drawn for `to` is not known afterwards.
  virtual void copy_slot(int from, int to) = 0;
};

}  // namespace deltaserve
