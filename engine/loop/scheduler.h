// Decides how many rows of the next step each sequence gets, as a function of the running
// sequences' demands. It knows no tensors, no clock and no tokens.
//
//   1. Every decoding sequence gets one row.
//   2. Prompt pieces fill the rest of max_step_tokens, but may always use one chunk: decode rows
//      never stop prompts from being read.
//   3. Half of the chunks for prompts are given by age, half by size.
//
// The reason for the two halves: a prompt of a million tokens must not delay a later one of a
// hundred, and shortest first gives the best mean time to the first token. But shortest first alone
// would starve the long prompt while short ones keep coming. The oldest prompt's half limits its
// slow-down to a factor of two, and every prompt becomes the oldest in the end. If there is only
// one chunk to give, the halves take turns.
//
// A piece begins on its sequence's chunk grid, and has a whole number of chunks or reaches the
// prompt's end. So a last chunk that is not full is never cut.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

// The demand of one running sequence, which is one that owns a slot.
struct SequenceDemand {
  int64_t prompt_left = 0;  // prompt tokens not yet read; 0 = decoding
  bool paused = false;      // its reader lags, so it gets no rows
  // Number of draws from a prompt's last row. All but one of them use up a row of the budget in
  // every step, so that a step never asks for more results than it may have rows.
  int num_draws = 1;
};

struct StepPiece {
  int sequence = 0;  // index into the demands
  int num_tokens = 0;
};

// The rows of one step: decode pieces first, each kind in the order of the demands. No sequence
// appears twice.
struct StepSchedule {
  std::vector<StepPiece> pieces;
  int num_decode = 0;
};

// Thread safety: one thread. The only state is scratch memory kept between calls.
class Scheduler {
 public:
  // A step has at most max(max_step_tokens, sum of the demands' num_draws + kChunkTokens) rows, and
  // asks for at most as many draws and targets together.
  explicit Scheduler(int max_step_tokens);

  // Returns the schedule of the next step, valid until the next call. `demands` are ordered by age,
  // oldest first. `turn` counts steps; its parity decides which half gets an odd chunk.
  const StepSchedule& schedule(std::span<const SequenceDemand> demands, uint64_t turn);

 private:
  void grant_prompts(std::span<const SequenceDemand> demands, int budget, uint64_t turn);

  const int max_step_tokens_;
  StepSchedule schedule_;
  std::vector<int> grants_;   // [demands] prompt tokens in this step
  std::vector<int> by_size_;  // indices of prompts
};

}  // namespace deltaserve
