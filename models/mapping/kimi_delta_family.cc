// Kimi Delta Attention (arXiv 2510.26692), its preconditioned variant and Gated DeltaNet-2, which
// all have a decay per channel and an output gate, both of low rank.
#include "models/limits.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"
#include "models/text.h"

namespace deltaserve {
namespace {

void read_kimi_delta(ConfigReader& reader, MixerKind kind, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = kind;
  read_sized_heads(reader, {16, 128, 1.0}, &mixer);
  read_short_conv(reader, true, &mixer);
  read_gate_factor(reader, &mixer);
  reader.ignore("attn_mode");  // all its modes compute the same function
  mixer.decay_heads = mixer.beta_heads = mixer.heads;
  mixer.decay_gate = DecayGate::kSoftplus;
  mixer.gate_activation = Activation::kSigmoid;
}

// Reads the bound of the decay. A lower bound changes the decay's formula; safe_gate only permits
// the authors' kernels to rely on a bound of at least -5.
void read_bound(ConfigReader& reader, MixerShape* mixer) {
  const bool safe = reader.boolean("safe_gate", false);
  const auto bound = reader.optional_real("lower_bound", limits::kDecayBound);
  if (safe && !(bound.has_value() && *bound >= -5)) {
    reader.fail("safe_gate", "is true, which needs a lower_bound from -5 to below 0");
  }
  if (bound.has_value()) {
    mixer->decay_gate = DecayGate::kBoundedSigmoid;
    mixer->decay_bound = static_cast<float>(*bound);
  }
}

}  // namespace

void read_kda(ConfigReader& reader, LayerConfig* config) {
  read_kimi_delta(reader, MixerKind::kKimiDelta, config);
  read_bound(reader, &config->mixer);
}

void read_precond_kda(ConfigReader& reader, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  read_kimi_delta(reader, MixerKind::kPrecondKimiDelta, config);
  read_bound(reader, &mixer);
  read_squash(reader, &mixer);
  mixer.beta_heads = mixer.k_heads;
  mixer.precond_heads = mixer.heads;
}

void read_gdn2(ConfigReader& reader, LayerConfig* config) {
  read_kimi_delta(reader, MixerKind::kGatedDeltaNet2, config);
  config->mixer.decay_heads = config->mixer.beta_heads = config->mixer.k_heads;
}

void map_kimi_delta_layer(const LayerConfig& config, LayerMapping* mapping) {
  using V = MixerBlocks;
  using P = ProjectionLayout;
  const MixerShape& mixer = config.mixer;
  const int64_t rank = mixer.value_dim;
  const int64_t decays = int64_t{mixer.decay_heads} * mixer.key_dim;
  const int64_t precond = mixer.precond_heads;
  mapping->queries_keys_values();
  mapping->project("attn.b_proj.weight",
                   int64_t{mixer.beta_heads} * (mixer.has_erase_gate() ? mixer.key_dim : 1),
                   &P::beta);
  if (mixer.has_erase_gate()) {
    mapping->project("attn.w_proj.weight", mixer.value_columns(), &P::write_gate);
  }
  if (precond > 0) {
    mapping->project("attn.a_proj.weight", precond, &P::precond_decay);
    mapping->project("attn.b_atk_proj.weight", precond, &P::precond_beta);
  }
  const int32_t f = mapping->project("attn.f_proj.0.weight", rank);
  const int32_t g = mapping->project("attn.g_proj.0.weight", rank);
  mapping->projection().decay = mapping->expand("attn.f_proj.1", f, decays, rank, 1, false);
  mapping->projection().gate =
      mapping->expand("attn.g_proj.1", g, mixer.value_columns(), rank, 1, true);
  mapping->convolutions();
  // The first published layers called A_log `A` and stored dt_bias as the bias of the gate's second
  // map.
  LayerTensor& a_log = mapping->add("attn.A_log", {mixer.decay_heads}, &V::a_log);
  a_log.old_name = "attn.A";
  if (mixer.decay_gate == DecayGate::kBoundedSigmoid) a_log.presence = Presence::kOptional;
  mapping->add("attn.dt_bias", {decays}, &V::dt_bias).old_name = "attn.f_proj.1.bias";
  if (precond > 0) {
    mapping->add("attn.A_log_atk", {precond}, &V::precond_a_log);
    mapping->add("attn.dt_bias_atk", {precond}, &V::precond_dt_bias);
    mapping->add("attn.log_atk_scale", {precond}, &V::precond_center);
  }
  mapping->conditioning();
  mapping->output("attn.o_norm.weight");
}

}  // namespace deltaserve
