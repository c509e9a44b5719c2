// The contents of config.json, checked. Field names follow the checkpoint's.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/program/mixer_shape.h"
#include "kernels/program/state_layout.h"

namespace deltaserve {

// Facts about a layer's tensors that are not part of the mixer's shape but affect names and shapes.
struct TensorChoices {
  bool output_gate = true;
  bool beta = true;        // false: beta is MixerShape::gate_factor (DeltaNet)
  bool bias = false;       // the input and the output projection have a bias (Mamba-2)
  bool conv_bias = false;  // the convolution has a bias (Mamba-2)
  bool norm_weight = true;
  bool fused_gate_norm = false;        // the output norm has GLA's name
  bool fused_gate_up = false;          // older checkpoints: one matrix for the MLP's gate and up
  bool tied_feature_maps = false;      // linear attention: queries and keys share one map
  bool skip_per_channel = false;       // Mamba-2: D is [channels], else [heads]
  bool conditioning_gate_said = true;  // false: the tensor's shape decides which gate it is

  bool operator==(const TensorChoices&) const = default;
};

// One layer, which has a mixer, an MLP, or both.
struct LayerConfig {
  std::string model_type;  // decides the layer's config keys and tensor names
  int64_t hidden_size = 0;
  bool has_mixer = true;
  MixerShape mixer;  // used only with a mixer, like the next field
  TensorChoices tensors;
  int64_t intermediate_size = 0;  // 0 = no MLP

  bool operator==(const LayerConfig&) const = default;
};

struct ModelConfig {
  std::string model_type;  // a name from the table in mapping/family.cc
  std::vector<LayerConfig> layers;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  bool tie_word_embeddings = false;
  float norm_eps = 1e-6f;  // for the norms between mixers; a mixer has its own
  int32_t bos_token_id = -1;
  std::vector<int32_t> eos_token_ids;
  // These are false if the config has no such key. Then the value is the default of its type.
  bool bos_is_said = false;
  bool eos_is_said = false;
  // Remarks about what the loader accepted: unknown keys, absent lamb_bias.
  std::vector<std::string> warnings;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
};

// Returns true if all layers have the same keys, hence the same tensors and sizes.
bool layers_are_alike(const ModelConfig& config);

// Returns the layout of one sequence's memory, with the states S in `format`.
StateLayout state_layout(const ModelConfig& config, StateFormat format = StateFormat::kF32);

// Parses the text of config.json. All layers are alike unless there is a key "layers", which lists
// one object per layer; its members override the config's keys, and "mixer": false or "mlp": false
// leaves that part out. `origin` names the file in errors. Every value is checked against a limit;
// INVALID_ARGUMENT names the key and the value that cannot be served.
//
// An unknown key is refused, unless its value turns nothing on, or older code of the model type
// wrote that value by default, or `ignored_keys` lists it. Configs of mamba_ssm and Mistral are
// read, too (foreign_config.h).
absl::StatusOr<ModelConfig> parse_model_config(std::string_view json, std::string_view origin,
                                               std::span<const std::string> ignored_keys = {});

// Returns the eos_token_id of generation_config.json, one or several; empty if it has none.
absl::StatusOr<std::vector<int32_t>> parse_generation_eos(std::string_view json);

}  // namespace deltaserve
