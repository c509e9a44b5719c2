// Gated DeltaNet (arXiv 2412.06464), Q-Delta (arXiv 2606.08804) and the preconditioned PGDN and
// PDN: one layer, whose tensors the mixer's shape decides.
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {
namespace {

constexpr double kDefaultLambdaBias = 0.9;

void read_gated_delta(ConfigReader& reader, MixerKind kind, LayerConfig* config) {
  MixerShape& mixer = config->mixer;
  mixer.kind = kind;
  read_sized_heads(reader, {6, 256, 2.0}, &mixer);
  config->tensors.output_gate = reader.boolean("use_gate", true);
  read_short_conv(reader, true, &mixer);
  read_gate_factor(reader, &mixer);
  mixer.beta_heads = mixer.heads;
  if (mixer.decay() != Decay::kNone) {
    mixer.decay_gate = DecayGate::kSoftplus;
    mixer.decay_heads = mixer.heads;
  }
}

void read_preconditioned(ConfigReader& reader, MixerKind kind, LayerConfig* config) {
  read_gated_delta(reader, kind, config);
  reader.ignore("attn_mode");
  read_squash(reader, &config->mixer);
  config->mixer.precond_heads = config->mixer.k_heads;
}

}  // namespace

void read_gated_deltanet(ConfigReader& reader, LayerConfig* config) {
  read_gated_delta(reader, MixerKind::kGatedDeltaNet, config);
  const std::string activation =
      reader.choice("output_gate_activation", {"swish", "silu", "sigmoid"}, "swish");
  if (activation == "sigmoid") config->mixer.gate_activation = Activation::kSigmoid;
  reader.ignore("attn_mode");  // all its modes compute the same function
}

void read_qdelta(ConfigReader& reader, LayerConfig* config) {
  const std::string semantics =
      reader.choice("qdelta_semantics", {"released", "canonical"}, "released");
  const bool canonical = semantics == "canonical";
  read_gated_delta(reader, canonical ? MixerKind::kQDelta : MixerKind::kQDeltaReleased, config);
  // The authors' 'fused_recurrent' omits lambda and the norm of q and k.
  const std::string mode = reader.word("attn_mode", "chunk");
  if (mode != "chunk") {
    reader.fail("attn_mode", str_cat("is ", quoted(mode), ", only 'chunk' is supported"));
  }
  if (!reader.has("lamb_bias")) {
    reader.warn(str_cat("lamb_bias is absent from the config; ", kDefaultLambdaBias,
                        " is assumed, and a wrong value harms the output"));
  }
  config->mixer.lambda_bias =
      static_cast<float>(reader.real("lamb_bias", limits::kLambdaBias, kDefaultLambdaBias));
}

void read_precond_gated_deltanet(ConfigReader& reader, LayerConfig* config) {
  read_preconditioned(reader, MixerKind::kPrecondGatedDeltaNet, config);
}

void read_precond_delta_net(ConfigReader& reader, LayerConfig* config) {
  read_preconditioned(reader, MixerKind::kPrecondDeltaNet, config);
}

void map_gated_delta_layer(const LayerConfig& config, LayerMapping* mapping) {
  using V = MixerBlocks;
  using P = ProjectionLayout;
  const MixerShape& mixer = config.mixer;
  const int64_t heads = mixer.heads;
  const int64_t precond = mixer.precond_heads;
  const bool decays = mixer.decay_heads > 0;
  mapping->queries_keys_values();
  if (config.tensors.output_gate) {
    mapping->project("attn.g_proj.weight", mixer.value_columns(), &P::gate);
  }
  if (decays) mapping->project("attn.a_proj.weight", heads, &P::decay);
  mapping->project("attn.b_proj.weight", heads, &P::beta);
  if (config.model_type == "qdelta") {
    mapping->project("attn.lamb_proj.weight", heads, &P::lambda);
  }
  if (precond > 0) {
    mapping->project("attn.a_atk_proj.weight", precond, &P::precond_decay);
    mapping->project("attn.b_atk_proj.weight", precond, &P::precond_beta);
  }
  mapping->convolutions();
  if (decays) {
    mapping->add("attn.A_log", {heads}, &V::a_log);
    mapping->add("attn.dt_bias", {heads}, &V::dt_bias);
  }
  if (precond > 0) {
    mapping->add("attn.A_log_atk", {precond}, &V::precond_a_log);
    mapping->add("attn.dt_bias_atk", {precond}, &V::precond_dt_bias);
    mapping->add("attn.log_atk_scale", {precond}, &V::precond_center);
  }
  mapping->unused("attn.D", {heads});
  mapping->conditioning();
  mapping->output("attn.o_norm.weight");
}

}  // namespace deltaserve
