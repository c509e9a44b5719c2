// The tensors of a checkpoint by role. The mapping (mapping/) says which names a config has and
// what shape each must be; a missing, extra or misshapen tensor is an error that names it.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "models/config.h"
#include "models/safetensors.h"

namespace deltaserve {

struct LayerWeights {
  HostMatrix attn_norm;             // [1, hidden]
  std::vector<HostMatrix> in_proj;  // blocks of the fused input projection, in layout order
  ProjectionLayout projection;
  HostMatrix conv_q, conv_k, conv_v;  // [channels, conv_width]; data null without convolution
  HostMatrix a_log, dt_bias;          // [1, value_heads]
  HostMatrix o_norm;                  // [1, value_dim]
  HostMatrix o_proj;                  // [hidden, value_columns]
  HostMatrix mlp_norm;                // [1, hidden]
  HostMatrix mlp_gate, mlp_up;        // [intermediate, hidden]
  HostMatrix mlp_down;                // [hidden, intermediate]
};

struct Weights {
  HostMatrix embeddings;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  HostMatrix norm;     // [1, hidden]
  HostMatrix lm_head;  // [vocab, hidden]; the embeddings again when tied
};

// The views point into `checkpoint`. INVALID_ARGUMENT names the first tensor that is missing,
// misshapen or not of this config. Two tensors may be there unused: `attn.D` of old checkpoints,
// and, with tied embeddings, an `lm_head.weight` of the embeddings' shape.
absl::StatusOr<Weights> bind_weights(const ModelConfig& config, const Checkpoint& checkpoint);

// A tensor that a checkpoint of this config must have.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string part;  // "embeddings", "mixers", "mlps", "norms", "head": for inspect
};

// Every tensor of `config`, in file order. The one list that binding, random-model and inspect use.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

}  // namespace deltaserve
