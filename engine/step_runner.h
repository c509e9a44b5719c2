// What the engine needs of a model. Model is one through ModelRunner; tests bring their own.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/backend.h"

namespace deltaserve {

// Called by the engine thread only, submit() and wait() in turn; the sizes are constant.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int max_rows() const = 0;       // of one step
  virtual int max_sequences() const = 0;  // state slots
  virtual int32_t vocab_size() const = 0;
  // `rows`: at most max_rows() entries, in the order of the step's rows; several may ask for the
  // same row. Both arguments stay as they are until wait() returns, with one result per entry.
  virtual Ticket submit(const StepView& step, const std::vector<Draw>& rows) = 0;
  virtual void wait(Ticket ticket, std::vector<DrawResult>* results) = 0;
  // Between steps: what slot `from` holds after the last step is what `to` goes on with.
  virtual void copy_state(int from, int to) = 0;
};

}  // namespace deltaserve
