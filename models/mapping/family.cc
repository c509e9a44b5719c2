#include "models/mapping/family.h"

#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr ModelFamily kFamilies[] = {
    {.model_type = "qdelta",
     .read_mixer = read_qdelta,
     .map_mixer = map_gated_delta_layer,
     .num_layers = 21,
     .takes_ccq = true},
    {.model_type = "gated_deltanet",
     .read_mixer = read_gated_deltanet,
     .map_mixer = map_gated_delta_layer,
     .num_layers = 21,
     .takes_ccq = true},
    {.model_type = "precond_gated_deltanet",
     .read_mixer = read_precond_gated_deltanet,
     .map_mixer = map_gated_delta_layer,
     .num_layers = 21,
     .takes_ccq = true},
    {.model_type = "precond_delta_net",
     .read_mixer = read_precond_delta_net,
     .map_mixer = map_gated_delta_layer,
     .num_layers = 21},
    {.model_type = "kda",
     .read_mixer = read_kda,
     .map_mixer = map_kimi_delta_layer,
     .num_layers = 24,
     .takes_ccq = true},
    {.model_type = "precond_kda",
     .read_mixer = read_precond_kda,
     .map_mixer = map_kimi_delta_layer,
     .num_layers = 24},
    {.model_type = "gdn2",
     .read_mixer = read_gdn2,
     .map_mixer = map_kimi_delta_layer,
     .num_layers = 24},
    {.model_type = "delta_net",
     .read_mixer = read_delta_net,
     .map_mixer = map_delta_net_layer,
     .num_layers = 24,
     .takes_ccq = true},
    {.model_type = "gla",
     .read_mixer = read_gla,
     .map_mixer = map_gla_layer,
     .num_layers = 24,
     .takes_ccq = true},
    {.model_type = "linear_attn",
     .read_mixer = read_linear_attn,
     .map_mixer = map_linear_attn_layer,
     .num_layers = 24},
    {.model_type = "mamba2",
     .read_mixer = read_mamba2,
     .map_mixer = map_mamba2_layer,
     .defaults = mamba2_defaults,
     .has_mlp = false,
     .root = "backbone.",
     .final_norm = "norm_f.weight"},
};

template <class Wanted>
std::string type_list(Wanted wanted) {
  std::string names;
  for (const ModelFamily& family : kFamilies) {
    if (wanted(family)) names += str_cat(names.empty() ? "" : ", ", family.model_type);
  }
  return names;
}

}  // namespace

ModelDefaults defaults_of(const ModelFamily& family, const ConfigReader& reader) {
  if (family.defaults != nullptr) return family.defaults(reader);
  ModelDefaults defaults;
  defaults.num_layers = family.num_layers;
  return defaults;
}

const ModelFamily* find_family(std::string_view model_type) {
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

std::string supported_model_types() {
  return type_list([](const ModelFamily&) { return true; });
}

std::string conditioned_model_types() {
  return type_list([](const ModelFamily& family) { return family.takes_ccq; });
}

}  // namespace deltaserve
