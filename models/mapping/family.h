// The table of model types. Each entry says how the type reads its config and names its tensors.
// Private to models/.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "models/checkpoint/config_reader.h"
#include "models/mapping/config.h"
#include "models/mapping/layer_mapping.h"

namespace deltaserve {

// The values of keys that a config does not have, as the type's own code defines them.
struct ModelDefaults {
  int64_t num_layers = 0;
  int64_t hidden_size = 2048;
  int64_t vocab_size = 32000;
  double norm_eps = 1e-6;
  int32_t bos_token_id = 1;
  const char* norm_eps_key = "norm_eps";  // how that code spells it
};

struct ModelFamily {
  const char* model_type;
  // Fills `mixer` and `tensors` from the keys of this type. hidden_size has been read before.
  void (*read_mixer)(ConfigReader& reader, LayerConfig* config);
  // Adds the tensors of a layer's mixer: its norm, its projections, its vectors.
  void (*map_mixer)(const LayerConfig& config, LayerMapping* mapping);
  // The default of num_hidden_layers, unless `defaults` returns all defaults.
  int64_t num_layers = 0;
  ModelDefaults (*defaults)(const ConfigReader& reader) = nullptr;
  bool has_mlp = true;
  bool takes_ccq = false;
  // The names of tensors outside the layers.
  const char* root = "model.";
  const char* final_norm = "norm.weight";
};

// Returns the defaults of a config of this family.
ModelDefaults defaults_of(const ModelFamily& family, const ConfigReader& reader);
// Returns the family of a type; null if there is no such type.
const ModelFamily* find_family(std::string_view model_type);
// Returns "qdelta, gated_deltanet, ..." for messages.
std::string supported_model_types();
// Returns the types that support "ccq".
std::string conditioned_model_types();

// The functions of the families, which have one file each.
void read_qdelta(ConfigReader& reader, LayerConfig* config);
void read_gated_deltanet(ConfigReader& reader, LayerConfig* config);
void read_precond_gated_deltanet(ConfigReader& reader, LayerConfig* config);
void read_precond_delta_net(ConfigReader& reader, LayerConfig* config);
void map_gated_delta_layer(const LayerConfig& config, LayerMapping* mapping);

void read_kda(ConfigReader& reader, LayerConfig* config);
void read_precond_kda(ConfigReader& reader, LayerConfig* config);
void read_gdn2(ConfigReader& reader, LayerConfig* config);
void map_kimi_delta_layer(const LayerConfig& config, LayerMapping* mapping);

void read_delta_net(ConfigReader& reader, LayerConfig* config);
void map_delta_net_layer(const LayerConfig& config, LayerMapping* mapping);

void read_gla(ConfigReader& reader, LayerConfig* config);
void map_gla_layer(const LayerConfig& config, LayerMapping* mapping);

void read_linear_attn(ConfigReader& reader, LayerConfig* config);
void map_linear_attn_layer(const LayerConfig& config, LayerMapping* mapping);

void read_mamba2(ConfigReader& reader, LayerConfig* config);
ModelDefaults mamba2_defaults(const ConfigReader& reader);
void map_mamba2_layer(const LayerConfig& config, LayerMapping* mapping);

}  // namespace deltaserve
