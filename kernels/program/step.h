// One step of a backend: rows of tokens cut into segments, then the draws from some rows' logits.
// Steps are plain structs, so that they can cross the boundary of a module.
#pragma once
#include <cstdint>

#include "kernels/mixer/delta_rule.h"
#include "kernels/program/array.h"

namespace deltaserve {

// The way a row is computed. A row's bits depend on its kind and its sequence's tokens only.
enum class RowKind : uint8_t {
  kDecode,   // the recurrence, token by token
  kPrefill,  // the chunk form, 64 tokens at a time
};

// This token id means the last token drawn for the slot that the segment reads (Draw::slot).
inline constexpr int32_t kTokenOfSlot = -1;

// A run of consecutive rows of a step that belong to one sequence.
struct Segment {
  RowKind kind = RowKind::kDecode;
  int32_t read_slot = 0;   // initial state; not read if position is 0
  int32_t write_slot = 0;  // final state; negative = padding, which touches no slot
  int32_t first_row = 0;   // index of its first row in the step
  int32_t num_rows = 0;
  int64_t position = 0;  // tokens of this sequence before the segment; 0 = starts from a zero state
  // A prefill segment may name a second slot, which receives the state after the last row that
  // ends on the sequence's 64-token grid; there must be such a row. -1 = none.
  int32_t keep_slot = -1;
};

// Returns after how many rows of a segment its state goes to the keep slot: all rows that are in
// whole chunks of the grid; 0 = there is no keep slot.
DS_HOST_DEVICE int32_t kept_rows(const Segment& segment) {
  return segment.keep_slot < 0 ? 0 : segment.num_rows / kChunkTokens * kChunkTokens;
}

// A flat batch of rows. Decode segments come first. A prefill segment begins on the 64-token grid
// of its sequence. No two segments write the same slot, as write_slot or keep_slot; several may
// read one that no segment writes.
struct Step {
  Array<int32_t> tokens;    // one per row, inside the vocabulary; a decode segment of one row may
                            // have kTokenOfSlot
  Array<Segment> segments;  // one after the other, over all rows
};

// A step as kernels see it: the same arrays, in any memory, and counts derived from them.
struct StepView {
  const int32_t* token_ids = nullptr;  // [num_rows]
  int32_t num_rows = 0;
  const Segment* segments = nullptr;  // [num_segments], the decode segments first
  int32_t num_segments = 0;
  int32_t num_decode = 0;       // decode segments
  int32_t num_decode_rows = 0;  // rows of the decode segments

  // Aborts if decode segments do not come first, if segments do not follow one another, if a
  // prefill segment begins off the grid, or if a segment with a keep slot decodes, is padding or
  // has no row that ends on the grid.
  static StepView of(const Step& step);
};

inline constexpr int kMaxTopLogprobs = 20;

// A change of one token's logit x before a draw: positive x become x / factor, others x * factor,
// then `add` is added. Results beyond the range of floats become the largest float; -infinity bans
// the token.
struct LogitAdjustment {
  int32_t token = 0;
  float factor = 1;  // positive
  float add = 0;
};

// A request for results from one row's logits. Several entries may name the same row. Pointers must
// stay valid until the step's wait().
struct Draw {
  int32_t row = 0;      // index in the step
  int32_t slot = -1;    // slot whose last drawn token (kTokenOfSlot) this becomes; -1 = none
  int32_t target = -1;  // token whose log-probability is wanted (scoring a prompt), -1 = none
  int32_t num_top = 0;  // number of most likely tokens to report, at most kMaxTopLogprobs
  bool sample = false;  // draw a token
  // The draw applies, in this order: adjustments, allowed, temperature, top_k, top_p, min_p.
  // Temperature 0 is greedy. The row's log-probabilities are not affected by them.
  const LogitAdjustment* adjustments = nullptr;  // for distinct tokens inside the vocabulary
  int32_t num_adjustments = 0;
  // Token t may be drawn if bit t % 32 of allowed[t / 32] is set; at least one must be. Null allows
  // all tokens.
  const uint32_t* allowed = nullptr;
  float temperature = 1;
  int32_t top_k = 0;  // 0 = all
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;  // the draw depends on (seed, choice, position) and the logits only
  uint32_t choice = 0;
  uint64_t position = 0;
  // If set, they receive the row's logits, float [vocab], and the last layer's output before the
  // final norm, float [hidden]. Both are filled when wait() returns.
  float* logits = nullptr;
  float* hidden = nullptr;
};

// Returns whether a draw needs the row's logits. A draw that does not has `hidden` as its only
// result.
inline bool needs_logits(const Draw& draw) {
  return draw.sample || draw.target >= 0 || draw.num_top > 0 || draw.logits != nullptr;
}

// The results of one Draw. Log-probabilities are those of softmax(logits), before adjustments,
// mask, temperature and cuts.
struct DrawResult {
  int32_t token = -1;  // drawn, -1 if none was asked
  float logprob = 0;   // log-probability of `token`
  float target_logprob = 0;
  int32_t num_top = 0;
  int32_t top_tokens[kMaxTopLogprobs] = {};  // most likely first; ties: smaller id first
  float top_logprobs[kMaxTopLogprobs] = {};
};

// Identifies queued work, so that the caller can wait for it.
struct Ticket {
  uint64_t step = 0;      // number of a step, from 1; 0 = a transfer
  uint64_t transfer = 0;  // number of an export or import of a slot, from 1; 0 = a step
};

}  // namespace deltaserve
