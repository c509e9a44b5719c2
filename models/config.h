// What config.json says, checked. Field names follow the checkpoint's.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/mixer_shape.h"
#include "kernels/state_layout.h"

namespace deltaserve {

// What the names and shapes of a layer's tensors depend on beside the mixer's shape.
struct TensorChoices {
  bool output_gate = true;
  bool beta = true;        // false: beta is MixerShape::gate_factor (DeltaNet)
  bool bias = false;       // of the input and the output projection (Mamba-2)
  bool conv_bias = false;  // Mamba-2
  bool norm_weight = true;
  bool fused_gate_norm = false;        // GLA's name for the output norm
  bool tied_feature_maps = false;      // linear attention: one map for queries and keys
  bool skip_per_channel = false;       // Mamba-2: D is [channels], else [heads]
  bool conditioning_gate_said = true;  // false: the tensor's shape says which gate it is

  bool operator==(const TensorChoices&) const = default;
};

// One layer: a mixer, an MLP, or both.
struct LayerConfig {
  std::string model_type;  // whose config keys and tensor names the layer has
  int64_t hidden_size = 0;
  bool has_mixer = true;
  MixerShape mixer;  // this and the next only with a mixer
  TensorChoices tensors;
  int64_t intermediate_size = 0;  // 0 = no MLP

  bool operator==(const LayerConfig&) const = default;
};

struct ModelConfig {
  std::string model_type;  // a name of the table in mapping/family.cc
  std::vector<LayerConfig> layers;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  bool tie_word_embeddings = false;
  float norm_eps = 1e-6f;  // of the norms between mixers; a mixer has its own
  int32_t bos_token_id = -1;
  std::vector<int32_t> eos_token_ids;  // generation_config.json wins over config.json
  // What the loader accepted with a remark: unknown keys, absent lamb_bias.
  std::vector<std::string> warnings;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
};

// Whether all layers have the same keys, hence the same tensors and sizes.
bool layers_are_alike(const ModelConfig& config);

// What one sequence carries through the model's layers, the states S in `format`.
StateLayout state_layout(const ModelConfig& config, StateFormat format = StateFormat::kF32);

// Parses the text of config.json. Layers are alike, unless the key "layers" lists what differs: an
// object for each layer, whose members go before those of the config, with "mixer": false or "mlp":
// false for a layer without. `origin` names the file in errors. Every value is checked against
// a limit; INVALID_ARGUMENT names the key and the value that cannot be served.
absl::StatusOr<ModelConfig> parse_model_config(std::string_view json, std::string_view origin);

// What generation_config.json and tokenizer_config.json add. Absent files (empty text) leave the
// defaults. Without add_bos_token, the Llama tokenizer classes mean true, as in their own code. Of
// a list of named chat templates the one called "default" is taken.
struct GenerationDefaults {
  std::vector<int32_t> eos_token_ids;
  // ---- tokenizer_config.json
  bool add_bos_token = false;
  std::string chat_template;  // empty = none, as the next two
  std::string bos_token;
  std::string eos_token;
  // The pieces that mark the structure of a conversation: the two above, additional_special_tokens
  // and the special ones of added_tokens_decoder. Sorted, each once.
  std::vector<std::string> special_tokens;
};

absl::StatusOr<GenerationDefaults> parse_generation_defaults(std::string_view generation_json,
                                                             std::string_view tokenizer_json);

}  // namespace deltaserve
