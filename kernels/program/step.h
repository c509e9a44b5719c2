// What one step asks of a backend: rows of tokens cut into segments, then what is wanted of the
// logits of some rows. Plain structs, so that they can cross the boundary of a module.
#pragma once
#include <cstdint>

#include "kernels/program/array.h"

namespace deltaserve {

// A row's bits depend on its kind, on its sequence's tokens and on nothing else.
enum class RowKind : uint8_t {
  kDecode,   // the recurrence, token by token
  kPrefill,  // the chunk form, 64 tokens at a time
};

// As a token id: the token that was drawn last for the slot that the segment reads (Draw::slot).
inline constexpr int32_t kTokenOfSlot = -1;

// A run of consecutive rows of a step that belong to one sequence.
struct Segment {
  RowKind kind = RowKind::kDecode;
  int32_t read_slot = 0;   // the state it goes on from; not read where position is 0
  int32_t write_slot = 0;  // the state it leaves; negative = padding, which touches no slot
  int32_t first_row = 0;   // in the step
  int32_t num_rows = 0;
  int64_t position = 0;  // tokens of this sequence before the segment; 0 = starts from a zero state
};

// A flat batch of rows. Decode segments come first. A prefill segment begins on the 64-token grid
// of its sequence. A slot that a segment writes is no other segment's; many may read one that none
// writes.
struct Step {
  Array<int32_t> tokens;    // one a row, inside the vocabulary; in a decode segment of one row it
                            // may be kTokenOfSlot
  Array<Segment> segments;  // one after the other, over all rows
};

// As kernels see a step: the same arrays, wherever they stand, and counts that follow from them.
struct StepView {
  const int32_t* token_ids = nullptr;  // [num_rows]
  int32_t num_rows = 0;
  const Segment* segments = nullptr;  // [num_segments], the decode segments first
  int32_t num_segments = 0;
  int32_t num_decode = 0;       // decode segments
  int32_t num_decode_rows = 0;  // their rows

  // Aborts where decode segments do not come first or segments do not follow one another.
  static StepView of(const Step& step);
};

inline constexpr int kMaxTopLogprobs = 20;

// A change of one token's logit x before a draw: x / factor where x is positive, x * factor where
// it is not, then + add. A result beyond the floats is the largest float; -infinity bans the token.
struct LogitAdjustment {
  int32_t token = 0;
  float factor = 1;  // positive
  float add = 0;
};

// What is wanted of one row's logits. Several entries may ask for the same row. Pointers are valid
// until the step's wait().
struct Draw {
  int32_t row = 0;      // of the step
  int32_t slot = -1;    // which slot's last drawn token the drawn token becomes; -1 = none
  int32_t target = -1;  // token whose log-probability is asked (scoring a prompt), -1 = none
  int32_t num_top = 0;  // most likely tokens to report, at most kMaxTopLogprobs
  bool sample = false;  // draw a token
  // The draw, in this order: adjustments, allowed, temperature, top_k, top_p, min_p. temperature
  // 0 = greedy. Nothing else of the row's results sees them.
  const LogitAdjustment* adjustments = nullptr;  // of distinct tokens inside the vocabulary
  int32_t num_adjustments = 0;
  // Token t may be drawn if bit t % 32 of allowed[t / 32] is set; at least one is. Null: all may.
  const uint32_t* allowed = nullptr;
  float temperature = 1;
  int32_t top_k = 0;  // 0 = all
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;  // the draw depends on (seed, choice, position) and the logits only
  uint32_t choice = 0;
  uint64_t position = 0;
  // Where set, they receive by the time of wait(): the row's logits, float [vocab], and the last
  // layer's output before the final norm, float [hidden].
  float* logits = nullptr;
  float* hidden = nullptr;
};

// Log-probabilities are of softmax(logits), before adjustments, mask, temperature and cuts.
struct DrawResult {
  int32_t token = -1;  // drawn, -1 if none was asked
  float logprob = 0;   // of `token`
  float target_logprob = 0;
  int32_t num_top = 0;
  int32_t top_tokens[kMaxTopLogprobs] = {};  // most likely first; ties: smaller id first
  float top_logprobs[kMaxTopLogprobs] = {};
};

// Names work that was queued, so that it can be waited for.
struct Ticket {
  uint64_t step = 0;      // of a step, counted from 1; 0 = of a transfer
  uint64_t transfer = 0;  // of an export or import of a slot, counted from 1; 0 = of a step
};

}  // namespace deltaserve
