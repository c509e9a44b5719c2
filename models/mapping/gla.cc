// Gated linear attention (arXiv 2312.06635).
#include <limits>

#include "models/limits.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"
#include "models/text.h"

namespace deltaserve {
namespace {

constexpr int64_t kGateRank = 16;  // fixed in the layer's code; no config key

Activation read_feature_map(ConfigReader& reader) {
  if (reader.is_null("feature_map")) return Activation::kNone;
  const std::string name =
      reader.choice("feature_map", {"relu", "silu", "swish", "sigmoid"}, "relu");
  if (name == "relu") return Activation::kRelu;
  return name == "sigmoid" ? Activation::kSigmoid : Activation::kSilu;
}

}  // namespace

void read_gla(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = MixerKind::kGatedLinearAttention;
  read_divided_heads(reader, config->hidden_size, 4, 0.5, /*grouped=*/true, &mixer);
  read_short_conv(reader, false, &mixer);
  if (mixer.conv_width == 0) mixer.qk_activation = mixer.v_activation = Activation::kNone;
  mixer.feature_map = read_feature_map(reader);
  mixer.q_norm = mixer.k_norm = FeatureNorm::kNone;
  mixer.decay_gate = DecayGate::kLogSigmoid;
  mixer.decay_heads = mixer.k_heads;
  mixer.decay_bound = static_cast<float>(reader.optional_real("clamp_min", limits::kDecayBound)
                                             .value_or(-std::numeric_limits<double>::infinity()));
  config->tensors.output_gate = reader.boolean("use_output_gate", true);
  config->tensors.norm_weight = reader.optional_boolean("elementwise_affine").value_or(true);
  config->tensors.fused_gate_norm = config->tensors.output_gate &&
                                    reader.boolean("fuse_norm", true) &&
                                    reader.word("hidden_act", "swish") == "swish";
  reader.ignore("attn_mode");  // all its modes compute the same function
  reader.ignore("use_gk");     // the layer ignores both keys
  reader.ignore("use_gv");
}

void map_gla_layer(const LayerConfig& config, LayerMapping* mapping) {
  using P = ProjectionLayout;
  const MixerShape& mixer = config.mixer;
  mapping->queries_keys_values();
  if (config.tensors.output_gate) {
    mapping->project("attn.g_proj.weight", mixer.value_columns(), &P::gate);
  }
  const int32_t gate = mapping->project("attn.gk_proj.0.weight", kGateRank);
  mapping->projection().decay =
      mapping->expand("attn.gk_proj.1", gate, mixer.k_columns(), kGateRank, 1, true);
  mapping->convolutions();
  mapping->conditioning();
  mapping->output(config.tensors.fused_gate_norm ? "attn.g_norm_swish_gate.weight"
                                                 : "attn.g_norm.weight");
}

}  // namespace deltaserve
