// What the engine needs of a model. Model is one through ModelRunner; tests bring their own.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/backend.h"

namespace deltaserve {

// Called by the engine thread only, submit() and wait() in turn; the sizes are constant.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int max_rows() const = 0;       // of one step
  virtual int max_sequences() const = 0;  // state slots
  // Prompts with other tokens are refused. The default trusts them.
  virtual int32_t vocab_size() const { return std::numeric_limits<int32_t>::max(); }
  // `rows`: at most one entry per row of the step, in the order of the rows. Both arguments stay
  // as they are until wait() returns, with one result per entry.
  virtual Ticket submit(const StepView& step, const std::vector<HeadRow>& rows) = 0;
  virtual void wait(Ticket ticket, std::vector<HeadResult>* results) = 0;
};

}  // namespace deltaserve
