// The tensors of a checkpoint by role. The mapping (mapping/) defines which names a config has and
// which shape each must have; a missing, extra or misshapen tensor is an error that names it.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/program/program.h"
#include "models/checkpoint/safetensors.h"
#include "models/mapping/config.h"

namespace deltaserve {

// A second linear map inside a row of projections: for each i < repeat, the columns from to_column
// + i * weight.rows become weight x (the columns from from_column + i * weight.columns) + bias. It
// is the second half of a low-rank gate, or a feature map that is applied to each head.
struct Expansion {
  int32_t from_column = 0;
  int32_t to_column = 0;
  int32_t repeat = 1;
  HostMatrix weight;
  HostMatrix bias;  // [1, weight.rows]; null data = none
};

// The parts of one weight; a block without data is an absent optional tensor.
using Blocks = std::vector<HostMatrix>;

// The vectors in the checkpoint's form: convolutions are [channels, conv_width] each, for q, k and
// v; skip is [1, heads] or [1, value_columns]; all others are [1, n].
using MixerBlocks = MixerVectors<Blocks>;

// The weights of one layer. Vectors are [1, n]. Absent weights are empty or have null data.
struct LayerWeights {
  HostMatrix mixer_norm;  // [1, hidden]
  Blocks in_proj;         // blocks of the fused input projection, in layout order
  Blocks in_proj_bias;
  ProjectionLayout projection;        // columns of the input projection and the expansions
  std::vector<Expansion> expansions;  // in the order in which they run
  MixerBlocks vectors;
  HostMatrix out_proj;  // [hidden, value_columns]
  HostMatrix out_proj_bias;
  HostMatrix mlp_norm;          // [1, hidden]
  HostMatrix mlp_gate, mlp_up;  // [intermediate, hidden]
  HostMatrix mlp_down;          // [hidden, intermediate]
};

struct Weights {
  HostMatrix embeddings;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  HostMatrix norm;     // [1, hidden]
  HostMatrix lm_head;  // [vocab, hidden]; the embeddings if they are tied
};

// Returns `config` completed by the checkpoint: the shapes of tensors show which gate a conditioned
// query has, and whether an MLP's gate and up matrices are in one tensor.
ModelConfig settled_config(ModelConfig config, const Checkpoint& checkpoint);

// Finds the weights of a config, which must be settled. The views point into `checkpoint`.
// INVALID_ARGUMENT names the first tensor that is missing, misshapen or unknown to this config. Two
// tensors may exist without being used: `attn.D` of old checkpoints and, with tied embeddings, an
// `lm_head.weight` of the embeddings' shape.
absl::StatusOr<Weights> bind_weights(const ModelConfig& config, const Checkpoint& checkpoint);

// A tensor that a checkpoint of this config must have.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string part;  // "embeddings", "mixers", "mlps", "norms", "logits head": for inspect
};

// Returns every tensor of `config`, in file order. Binding, random-model and inspect all use this
// list.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

}  // namespace deltaserve
