// Arguments of the backend's operations: plain structs, so that they can cross the boundary of a
// separately loaded module. Pointers in them are valid until the step ends.
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/mixer/mixers.h"

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
  int32_t slot = 0;       // state slot, read and written
  int32_t first_row = 0;  // in the step
  int32_t num_rows = 0;
  int64_t position = 0;  // tokens of this sequence before the segment; 0 = starts from a zero state
};

// A step is a flat batch of rows cut into segments: first `num_decode` decode segments of one row
// each, then prefill segments. A prefill segment begins on the 64-token grid of its sequence.
struct StepView {
  const int32_t* token_ids = nullptr;  // [num_rows], each inside the vocabulary
  int32_t num_rows = 0;
  const Segment* segments = nullptr;
  int32_t num_segments = 0;
  int32_t num_decode = 0;
};

// Where the features of a mixer stand in a row of its input projection; -1 = absent. q, k and v
// come first and in this order: together they are the channels of the short convolution.
struct ProjectionLayout {
  int32_t q = -1;       // [heads, key_dim]
  int32_t k = -1;       // [heads, key_dim]
  int32_t v = -1;       // [value_heads, value_dim]
  int32_t gate = -1;    // [value_heads, value_dim]  output gate
  int32_t decay = -1;   // [value_heads]             a_proj
  int32_t beta = -1;    // [value_heads]             b_proj
  int32_t lambda = -1;  // [value_heads]             lamb_proj
  int32_t columns = 0;
};

// One mixer layer: from the rows of its input projection to the input of its output projection.
struct MixerLayer {
  MixerKind kind = MixerKind::kQDelta;
  int32_t index = 0;  // layer of the state layout
  int32_t heads = 0;
  int32_t value_heads = 0;  // a multiple of heads; value head h uses query/key head h / (ratio)
  int32_t key_dim = 0;
  int32_t value_dim = 0;
  int32_t conv_width = 0;  // 0 = no short convolution: SiLU alone
  float gate_factor = 1;   // 2 with allow_neg_eigval: multiplies beta and lambda
  float lambda_bias = 0;   // subtracted from lambda's logit
  float norm_eps = 1e-6f;
  ProjectionLayout projection;
  VectorHandle conv;            // [conv_width, channels], the last row weighs the current token
  VectorHandle a_log, dt_bias;  // [value_heads]
  VectorHandle norm;            // [value_dim] of the output norm

  int32_t key_columns() const { return heads * key_dim; }
  int32_t value_columns() const { return value_heads * value_dim; }
  int32_t channels() const { return 2 * key_columns() + value_columns(); }
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
