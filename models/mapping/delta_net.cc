// DeltaNet (arXiv 2406.06484).
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {

void read_delta_net(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = MixerKind::kDeltaNet;
  read_divided_heads(reader, config->hidden_size, 16, 1.0, /*grouped=*/false, &mixer);
  read_short_conv(reader, true, &mixer);
  read_gate_factor(reader, &mixer);
  config->tensors.output_gate = reader.boolean("use_gate", false);
  config->tensors.beta = reader.boolean("use_beta", true);
  mixer.beta_heads = mixer.heads;
  const std::string activation =
      reader.choice("qk_activation", {"silu", "relu", "elu", "identity"}, "silu");
  if (activation != "silu") mixer.qk_activation = Activation::kNone;
  if (activation == "relu") mixer.feature_map = Activation::kRelu;
  if (activation == "elu") mixer.feature_map = Activation::kEluPlusOne;
  if (reader.choice("qk_norm", {"l2", "sum"}, "l2") == "sum") {
    mixer.q_norm = mixer.k_norm = FeatureNorm::kSum;
  }
  reader.ignore("attn_mode");        // all its modes compute the same function
  reader.ignore("use_output_norm");  // the layer always has an output norm
}

void map_delta_net_layer(const LayerConfig& config, LayerMapping* mapping) {
  using P = ProjectionLayout;
  const MixerShape& mixer = config.mixer;
  mapping->queries_keys_values();
  if (config.tensors.output_gate) {
    mapping->project("attn.g_proj.weight", mixer.value_columns(), &P::gate);
  }
  if (config.tensors.beta) mapping->project("attn.b_proj.weight", mixer.beta_heads, &P::beta);
  mapping->convolutions();
  mapping->conditioning();
  mapping->output("attn.o_norm.weight");
}

}  // namespace deltaserve
