// Who gets how many rows of the next step: a function of what the running sequences need. No
// tensors, no clock, no tokens.
//
//   1. Every decoding sequence gets one row.
//   2. Prompt pieces fill the rest of max_step_tokens, but may always use one chunk: decode rows
//      never stop prompts from being read.
//   3. Half of the chunks for prompts go by age, half by size.
//
// Why halves. A prompt of a million tokens must not delay one of a hundred that came later:
// shortest first gives the best mean time to the first token. But it alone would starve the long
// prompt while short ones keep coming; the oldest prompt's half bounds its slow-down to two, and
// every prompt becomes the oldest in the end. With a single chunk to give, the halves take turns.
//
// A piece begins on its sequence's chunk grid: it is a whole number of chunks, or reaches the
// prompt's end. So a tail shorter than a chunk is never cut.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

// What one running sequence needs. Running = owns a slot.
struct SequenceDemand {
  int64_t prompt_left = 0;  // prompt tokens not yet read; 0 = decoding
  bool paused = false;      // its reader lags: leave it out
  // Of a prompt: its last row is drawn from so many times. All but one take a row of the budget in
  // every step, so that a step never asks for more results than it may have rows.
  int num_draws = 1;
};

struct StepPiece {
  int sequence = 0;  // index into the demands
  int num_tokens = 0;
};

// Decode pieces first, each kind in the order of the demands. No sequence appears twice.
struct StepSchedule {
  std::vector<StepPiece> pieces;
  int num_decode = 0;
};

// Thread safety: one thread; it keeps scratch memory between calls and nothing else.
class Scheduler {
 public:
  // A step has at most max(max_step_tokens, sum of the demands' num_draws + kChunkTokens) rows, and
  // asks for no more draws and targets together.
  explicit Scheduler(int max_step_tokens);

  // `demands` are ordered by age, oldest first. `turn` counts steps; its parity decides who gets an
  // odd chunk. Valid until the next call.
  const StepSchedule& schedule(std::span<const SequenceDemand> demands, uint64_t turn);

 private:
  void grant_prompts(std::span<const SequenceDemand> demands, int budget, uint64_t turn);

  const int max_step_tokens_;
  StepSchedule schedule_;
  std::vector<int> grants_;   // [demands] prompt tokens in this step
  std::vector<int> by_size_;  // indices of prompts
};

}  // namespace deltaserve
