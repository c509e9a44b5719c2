// Mamba-2 (arXiv 2405.21060). Its C, B and x are our q, k and v; the time step gives decay and
// beta.
#include <limits>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {
namespace {

// transformers has a Mamba-2 of its own, with other keys and defaults than that of
// flash-linear-attention.
bool is_of_transformers(const ConfigReader& reader) {
  for (const char* key : {"norm_eps", "rmsnorm", "dt_limit", "fuse_norm", "D_has_hdim"}) {
    if (reader.has(key)) return false;
  }
  return reader.has("layer_norm_epsilon") || reader.has("time_step_limit") ||
         reader.has("time_step_rank");
}

// Configs of transformers repeat the number of channels in intermediate_size; in other configs this
// key is that of an MLP.
void check_channels(ConfigReader& reader, int64_t inner) {
  if (!is_of_transformers(reader)) return;
  const auto said = reader.optional_integer("intermediate_size", limits::kProjectionColumns);
  if (said.has_value() && *said != inner) {
    reader.fail("intermediate_size",
                str_cat("is ", *said, ", but expand * hidden_size is ", inner));
  }
}

void read_sizes(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  const int64_t dim = reader.integer("head_dim", limits::kValueDim, 64);
  const int64_t states = reader.integer("state_size", limits::kHeadDim, 128);
  const int64_t groups =
      reader.integer("n_groups", limits::kHeads, is_of_transformers(reader) ? 8 : 1);
  const double expand = reader.real("expand", limits::kExpand, 2);
  const auto inner = static_cast<int64_t>(static_cast<double>(config->hidden_size) * expand);
  const int64_t heads = inner / dim;
  if (inner % dim != 0) {
    reader.fail("expand", str_cat("is ", expand, ", which makes ", inner,
                                  " channels: not a multiple of head_dim ", dim));
  } else if (heads < limits::kHeads.min || heads > limits::kHeads.max) {
    reader.fail("expand", str_cat("is ", expand, ", which makes ", heads, " heads, not from ",
                                  limits::kHeads.min, " to ", limits::kHeads.max));
  } else if (heads % groups != 0) {
    reader.fail("n_groups", str_cat("is ", groups, ", must divide the ", heads, " heads"));
  }
  const auto said = reader.optional_integer("num_heads", limits::kHeads);
  if (said.has_value() && *said != heads) {
    reader.fail("num_heads",
                str_cat("is ", *said, ", but expand * hidden_size / head_dim is ", heads));
  }
  check_channels(reader, inner);
  check_columns(reader, "expand", heads, dim);
  check_columns(reader, "n_groups", groups, states);
  mixer.heads = mixer.v_heads = mixer.decay_heads = static_cast<int32_t>(heads);
  mixer.q_heads = mixer.k_heads = static_cast<int32_t>(groups);
  mixer.key_dim = static_cast<int32_t>(states);
  mixer.value_dim = static_cast<int32_t>(dim);
  mixer.norm_groups = static_cast<int32_t>(groups);
}

// transformers and older revisions of flash-linear-attention call the key time_step_limit.
void read_time_step(ConfigReader& reader, MixerShape* mixer) {
  const char* key = reader.has("dt_limit") ? "dt_limit" : "time_step_limit";
  const auto [lower, upper] =
      reader.bounds(key, limits::kTimeStep, {0, std::numeric_limits<double>::infinity()});
  mixer->decay_gate = DecayGate::kTimeStep;
  mixer->time_step_min = static_cast<float>(lower);
  mixer->time_step_max = static_cast<float>(upper);
}

// Only the code that has the key rmsnorm obeys norm_before_gate: transformers, vLLM and the authors
// of published configs with "norm_before_gate": true gate first.
void read_norm(ConfigReader& reader, LayerConfig* config) {
  const bool is_obeyed = reader.has("rmsnorm");
  const bool norm = reader.boolean("rmsnorm", true);
  const bool first = reader.boolean("norm_before_gate", false) && is_obeyed;
  if (!is_obeyed && !reader.is_empty("norm_before_gate")) {
    reader.warn(
        "norm_before_gate is true, but the code of such a config gates before its norm, "
        "and so does this server");
  }
  if (!reader.boolean("rms_norm", true)) {
    reader.warn("rms_norm is false, which has no effect: the mixer keeps its norm");
  }
  config->tensors.norm_weight = norm;
  config->mixer.output_norm = !norm   ? OutputNorm::kGateOnly
                              : first ? OutputNorm::kGroupsThenGate
                                      : OutputNorm::kGateThenGroups;
}

}  // namespace

void read_mamba2(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = MixerKind::kMamba2;
  read_sizes(reader, config);
  mixer.conv_width = static_cast<int32_t>(reader.integer("conv_kernel", limits::kConvSize, 4));
  mixer.q_norm = mixer.k_norm = FeatureNorm::kNone;
  read_time_step(reader, &mixer);
  read_norm(reader, config);
  reader.choice("hidden_act", {"silu", "swish"}, "silu");
  config->tensors.bias = reader.boolean("use_bias", false);
  config->tensors.conv_bias = reader.boolean("use_conv_bias", true);
  config->tensors.skip_per_channel = reader.boolean("D_has_hdim", false);
  // These describe the initial weights and the training.
  for (const char* key :
       {"A_init_range", "chunk_size", "conv_init", "dt_init_floor", "dt_max", "dt_min",
        "rescale_prenorm_residual", "residual_in_fp32", "time_step_floor", "time_step_init_scheme",
        "time_step_max", "time_step_min", "time_step_rank", "time_step_scale"}) {
    reader.ignore(key);
  }
}

ModelDefaults mamba2_defaults(const ConfigReader& reader) {
  ModelDefaults defaults;
  defaults.num_layers = 48;
  defaults.norm_eps = 1e-5;
  if (!is_of_transformers(reader)) return defaults;
  defaults.num_layers = 64;
  defaults.hidden_size = 4096;
  defaults.vocab_size = 32768;
  defaults.bos_token_id = 0;
  defaults.norm_eps_key = "layer_norm_epsilon";
  return defaults;
}

void map_mamba2_layer(const LayerConfig& config, LayerMapping* mapping) {
  using W = LayerWeights;
  using V = MixerBlocks;
  using P = ProjectionLayout;
  const MixerShape& mixer = config.mixer;
  const int64_t hidden = config.hidden_size;
  const int64_t heads = mixer.heads;
  const int64_t inner = mixer.value_columns();
  const int64_t states = mixer.k_columns();
  const int64_t channels = inner + 2 * states;
  mapping->norm("norm.weight", hidden, &W::mixer_norm);
  // The rows of in_proj are z, x, B, C, dt.
  mapping->project_blocks("mixer.in_proj.weight", inner + channels + heads,
                          {{2 * inner + states, states, &P::q},
                           {2 * inner, states, &P::k},
                           {inner, inner, &P::v},
                           {0, inner, &P::gate},
                           {inner + channels, heads, &P::decay}},
                          config.tensors.bias ? "mixer.in_proj.bias" : "");
  mapping->convolve_blocks("mixer.conv1d.weight", channels,
                           {{inner + states, states}, {inner, states}, {0, inner}},
                           config.tensors.conv_bias ? "mixer.conv1d.bias" : "");
  mapping->add("mixer.A_log", {heads}, &V::a_log);
  mapping->add("mixer.dt_bias", {heads}, &V::dt_bias);
  mapping->add("mixer.D", {config.tensors.skip_per_channel ? inner : heads}, &V::skip);
  if (config.tensors.norm_weight) {
    mapping->norm("mixer.norm.weight", inner, &V::norm);
  } else {
    mapping->unused("mixer.norm.weight", {inner});
  }
  mapping->add("mixer.out_proj.weight", {hidden, inner}, &W::out_proj);
  if (config.tensors.bias) mapping->add("mixer.out_proj.bias", {hidden}, &W::out_proj_bias);
}

}  // namespace deltaserve
