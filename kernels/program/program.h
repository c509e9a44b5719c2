// A model as a program: the list of operations that turns a step's tokens into the last layer's
// output. It is written once, when the model is loaded. A backend interprets it or translates it to
// what suits the device. Programs are plain structs and arrays, so that they can cross the boundary
// of a module.
//
// Indices are into the program's own arrays; -1 = none.
#pragma once
#include <cstdint>
#include <string>

#include "kernels/base/dtype.h"
#include "kernels/base/weight_format.h"
#include "kernels/program/array.h"
#include "kernels/program/mixer_shape.h"
#include "kernels/program/mixer_vectors.h"
#include "kernels/program/state_layout.h"

namespace deltaserve {

// Says which rows a buffer has.
enum class RowsOf : uint8_t {
  kStep,   // one for each row of the step
  kDraws,  // one for each draw of the step; the backend chooses how many it keeps at a time
};

// Activations, float [rows, columns]. The backend decides how rows are padded and whether it keeps
// copies in other formats.
struct Buffer {
  const char* name = "";
  RowsOf rows = RowsOf::kStep;
  int32_t columns = 0;
};

// A weight as the checkpoint stores it: row-major [rows, columns], any alignment.
struct HostMatrix {
  const void* data = nullptr;
  Dtype dtype = Dtype::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
};

enum class WeightKind : uint8_t {
  kMatrix,  // [out features, in features], in the format that the entry names
  kVector,  // always float
};

struct Weight {
  const char* role = "";  // for messages: "embeddings", "layer 3"
  WeightKind kind = WeightKind::kMatrix;
  WeightFormat format = WeightFormat::kAuto;
  Array<HostMatrix> blocks;  // of equal columns, stacked by rows; a vector is one block

  int64_t rows() const {
    int64_t sum = 0;
    for (const HostMatrix& block : blocks) sum += block.rows;
    return sum;
  }
  int64_t columns() const { return blocks[0].columns; }
};

// The columns where each feature of a mixer begins in a row of its projections; -1 = absent. q, k
// and v come first and in this order, because together they are the channels of the short
// convolution. Counts and sizes are in MixerShape.
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
  // With product_features q = left * right and k likewise; both factors are linear maps of the
  // columns `q` and `k` above.
  int32_t q_left = -1, q_right = -1;  // [q_heads, key_dim]
  int32_t k_left = -1, k_right = -1;  // [k_heads, key_dim]
  int32_t columns = 0;
};

// One mixer layer: computes the input of its output projection from the rows of its projections.
struct MixerLayer {
  MixerShape shape;
  ProjectionLayout projection;
  LayerStateLayout state;         // positions of its parts in a slot
  MixerVectors<int32_t> vectors;  // indices into Program::weights
};

enum class OpKind : uint8_t {
  kEmbed,   // out[r] = weight[token of row r]
  kNorm,    // out[r] = in[r] / sqrt(mean(in[r]^2) + eps) * weight
  kMatmul,  // out (+)= in weight^T, then + bias, over columns [column, column + width)
  kGate,    // out = activation(in[:, :n]) * in[:, n:] with n = columns of out
  kMixer,   // short convolution, feature maps, norms, gates, the rule, the gated output norm;
            // updates the slots' states
};

struct Op {
  OpKind kind = OpKind::kEmbed;
  int16_t layer = -1;  // layer of the model, for messages and profiles
  int32_t in = -1, in_column = 0;
  int32_t out = -1, out_column = 0;
  int32_t weight = -1, bias = -1;
  int32_t mixer = -1;  // index into Program::mixers
  bool accumulate = false;
  Activation activation = Activation::kNone;
  float eps = 0;
};

struct Program {
  Array<Buffer> buffers;
  Array<Weight> weights;
  Array<Op> ops;
  Array<MixerLayer> mixers;
  Array<StatePart> parts;  // parts of all layers, in the order of the slot

  // The draws use these: logits = norm(last_hidden) output^T.
  int32_t last_hidden = -1;                // buffer, [hidden] of the step's rows
  int32_t drawn_hidden = -1, logits = -1;  // buffers of the draws, [hidden] and [vocab]
  int32_t final_norm = -1, output = -1;    // weights
  float final_eps = 0;

  int32_t hidden = 0, vocab = 0;
  int64_t slot_bytes = 0;
};

// Returns a sentence about the first part of which each token has its own; empty if there is none.
// Backends without memory that grows with a sequence refuse programs with it.
std::string complaint_about_growth(const Program& program);

// The sizes for which a backend makes room.
struct Limits {
  int32_t rows = 0;      // rows per step
  int32_t segments = 0;  // segments per step
  int32_t draws = 0;     // draws per step
  int32_t slots = 0;
  // This many of the last `slots` hold kept states. They may never be used, so on the CPU their
  // memory is first touched when they are written.
  int32_t snapshots = 0;
  int32_t host_slots = 0;  // further states in the host's memory, which no step reads or writes
};

// Aborts if the program is inconsistent: an index outside its array, columns that do not match, or
// an operation without one of its operands. Programs are written by our own code, never by users.
void check_program(const Program& program);

// Returns true if steps read only single rows of the weight: a table of embeddings.
bool reads_only_rows(const Program& program, int32_t weight);

}  // namespace deltaserve
