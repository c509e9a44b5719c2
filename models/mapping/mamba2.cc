// Mamba-2 (arXiv 2405.21060). Its C, B and x are our q, k and v; the time step gives decay and
// beta.
#include <limits>

#include "models/limits.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"
#include "models/text.h"

namespace deltaserve {
namespace {

void read_sizes(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  const int64_t dim = reader.integer("head_dim", limits::kValueDim, 64);
  const int64_t states = reader.integer("state_size", limits::kHeadDim, 128);
  const int64_t groups = reader.integer("n_groups", limits::kHeads, 1);
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
  check_columns(reader, "expand", heads, dim);
  check_columns(reader, "n_groups", groups, states);
  mixer.heads = mixer.v_heads = mixer.decay_heads = static_cast<int32_t>(heads);
  mixer.q_heads = mixer.k_heads = static_cast<int32_t>(groups);
  mixer.key_dim = static_cast<int32_t>(states);
  mixer.value_dim = static_cast<int32_t>(dim);
  mixer.norm_groups = static_cast<int32_t>(groups);
}

// Older configs call the keys time_step_limit and rms_norm.
void read_time_step(ConfigReader& reader, MixerShape* mixer) {
  const char* key = reader.has("dt_limit") ? "dt_limit" : "time_step_limit";
  const auto [lower, upper] =
      reader.bounds(key, limits::kTimeStep, {0, std::numeric_limits<double>::infinity()});
  mixer->decay_gate = DecayGate::kTimeStep;
  mixer->time_step_min = static_cast<float>(lower);
  mixer->time_step_max = static_cast<float>(upper);
}

void read_norm(ConfigReader& reader, LayerConfig* config) {
  const bool norm = reader.boolean(reader.has("rmsnorm") ? "rmsnorm" : "rms_norm", true);
  const bool first = reader.boolean("norm_before_gate", false);
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
  for (const char* key : {"A_init_range", "chunk_size", "conv_init", "dt_init_floor", "dt_max",
                          "dt_min", "rescale_prenorm_residual", "residual_in_fp32",
                          "time_step_floor", "time_step_max", "time_step_min", "time_step_rank"}) {
    reader.ignore(key);
  }
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
