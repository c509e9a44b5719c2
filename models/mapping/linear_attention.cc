// Linear attention with a feature map (arXiv 2006.16236).
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {

void read_linear_attn(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = MixerKind::kLinearAttention;
  read_divided_heads(reader, config->hidden_size, 4, 1.0, /*grouped=*/true, &mixer);
  mixer.qk_activation = mixer.v_activation = Activation::kNone;
  const std::string map = reader.choice(
      "feature_map", {"elementwise_product", "relu", "elu", "identity"}, "elementwise_product");
  mixer.product_features = map == "elementwise_product";
  if (map == "relu") mixer.feature_map = Activation::kRelu;
  if (map == "elu") mixer.feature_map = Activation::kEluPlusOne;
  config->tensors.tied_feature_maps = reader.boolean("tie_feature_map_qk", false);
  const auto norm = [&](const char* key) {
    return reader.boolean(key, false) ? FeatureNorm::kSumPlusEps : FeatureNorm::kNone;
  };
  mixer.q_norm = norm("norm_q");
  mixer.k_norm = norm("norm_k");
  mixer.normalised = reader.boolean("norm_feature_map", false);
  config->tensors.output_gate = false;
  config->tensors.norm_weight = reader.optional_boolean("elementwise_affine").value_or(true);
  reader.ignore("attn_mode");  // all its modes compute the same function
}

void map_linear_attn_layer(const LayerConfig& config, LayerMapping* mapping) {
  const MixerShape& mixer = config.mixer;
  mapping->queries_keys_values();
  if (mixer.product_features) {
    // All heads share one map. Query and key columns are adjacent, so a tied map covers both.
    const bool tied = config.tensors.tied_feature_maps;
    ProjectionLayout& columns = mapping->projection();
    const int32_t dim = mixer.key_dim;
    const auto map = [&](const char* name, int32_t from, int32_t heads) {
      return mapping->expand(name, from, dim, dim, heads, true);
    };
    const int32_t q_heads = mixer.q_heads;
    const int32_t both = q_heads + (tied ? mixer.k_heads : 0);
    columns.q_left = map("attn.feature_map_q.layer1", columns.q, both);
    columns.q_right = map("attn.feature_map_q.layer2", columns.q, both);
    columns.k_left = tied ? columns.q_left + mixer.q_columns()
                          : map("attn.feature_map_k.layer1", columns.k, mixer.k_heads);
    columns.k_right = tied ? columns.q_right + mixer.q_columns()
                           : map("attn.feature_map_k.layer2", columns.k, mixer.k_heads);
  }
  mapping->output("attn.norm.weight");
}

}  // namespace deltaserve
