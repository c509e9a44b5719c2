// Arguments of the backend's operations: plain structs, so that they can cross the boundary of a
// separately loaded module. Pointers in them are valid until the step ends.
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/weight_format.h"
#include "kernels/mixer_shape.h"

namespace deltaserve {

// Opaque to everyone but the backend that made them; negative = none.
struct MatrixHandle {
  int32_t id = -1;
};  // a weight [out_features, in_features]
struct VectorHandle {
  int32_t id = -1;
};  // a weight [n], always float
struct BufferHandle {
  int32_t id = -1;
};  // activations float [rows, columns]

// A weight as the checkpoint stores it: row-major [rows, columns], any alignment.
struct HostMatrix {
  const void* data = nullptr;
  Dtype dtype = Dtype::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
};

// A run of consecutive rows of a step that belong to one sequence.
struct Segment {
  int32_t read_slot = 0;   // the state it goes on from; not read where position is 0
  int32_t write_slot = 0;  // the state it leaves; negative = padding, which touches no slot
  int32_t first_row = 0;   // in the step
  int32_t num_rows = 0;
  int64_t position = 0;  // tokens of this sequence before the segment; 0 = starts from a zero state
};

// A step is a flat batch of rows cut into segments: first `num_decode` decode segments of one row
// each, then prefill segments. A prefill segment begins on the 64-token grid of its sequence. A
// slot that a segment writes is no other segment's; many may read one that none writes.
struct StepView {
  const int32_t* token_ids = nullptr;  // [num_rows], each inside the vocabulary
  int32_t num_rows = 0;
  const Segment* segments = nullptr;
  int32_t num_segments = 0;
  int32_t num_decode = 0;
};

// Columns [column, column + the other side's width) of a buffer's rows.
struct BufferColumns {
  BufferHandle buffer;
  int32_t column = 0;
};

// Where the features of a mixer stand in a row of its projections; -1 = absent. q, k and v come
// first and in this order: together they are the channels of the short convolution. Counts and
// sizes are MixerShape's.
struct ProjectionLayout {
  int32_t q = -1;              // [q_heads, key_dim]
  int32_t k = -1;              // [k_heads, key_dim]
  int32_t v = -1;              // [v_heads, value_dim]
  int32_t gate = -1;           // [heads, value_dim]  output gate
  int32_t decay = -1;          // [decay_heads] or [decay_heads, key_dim]
  int32_t beta = -1;           // [beta_heads], or [beta_heads, key_dim] of an erase gate
  int32_t lambda = -1;         // [heads]
  int32_t write_gate = -1;     // [heads, value_dim]
  int32_t precond_decay = -1;  // [precond_heads]
  int32_t precond_beta = -1;   // [precond_heads]
  // With product_features q = left * right, as k; `q` and `k` above are what they are made from.
  int32_t q_left = -1, q_right = -1;  // [q_heads, key_dim]
  int32_t k_left = -1, k_right = -1;  // [k_heads, key_dim]
  int32_t columns = 0;
};

// One mixer layer: from the rows of its projections to the input of its output projection.
struct MixerLayer {
  int32_t index = 0;  // layer of the state layout
  MixerShape shape;
  ProjectionLayout projection;
  VectorHandle conv;               // [conv_width, channels], the last row weighs the current token
  VectorHandle conv_bias;          // [channels]
  VectorHandle a_log;              // [decay_heads]
  VectorHandle dt_bias;            // as the decay's logits
  VectorHandle precond_a_log;      // [precond_heads]
  VectorHandle precond_dt_bias;    // [precond_heads]
  VectorHandle precond_center;     // [precond_heads]
  VectorHandle conditioning;       // w of QueryConditioning
  VectorHandle conditioning_bias;  // b
  VectorHandle skip;               // D: o += D v, [heads, value_dim]
  VectorHandle norm;               // weight of the output norm
};

inline constexpr int kMaxTopLogprobs = 20;

// A change of one token's logit x before a draw: x / factor where x is positive, x * factor where
// it is not, then + add. A result beyond the floats is the largest float; -infinity bans the token.
struct LogitAdjustment {
  int32_t token = 0;
  float factor = 1;  // positive
  float add = 0;
};

// What is wanted of one row's logits. `row` indexes the step's rows; several entries may ask for
// the same row.
struct HeadRow {
  int32_t row = 0;
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
  float* logits = nullptr;  // if set, host [vocab]: receives the row's logits by the time of wait()
};

// Log-probabilities are of softmax(logits), before adjustments, mask, temperature and cuts.
struct HeadResult {
  int32_t token = -1;  // drawn, -1 if none was asked
  float logprob = 0;   // of `token`
  float target_logprob = 0;
  int32_t num_top = 0;
  int32_t top_tokens[kMaxTopLogprobs] = {};  // most likely first; ties: smaller id first
  float top_logprobs[kMaxTopLogprobs] = {};
};

}  // namespace deltaserve
