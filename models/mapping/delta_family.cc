#include "models/mapping/delta_family.h"

namespace deltaserve {

std::vector<LayerTensor> delta_family_layer(const ModelConfig& config) {
  using W = LayerWeights;
  using P = ProjectionLayout;
  const int64_t hidden = config.hidden_size;
  const int64_t keys = config.key_columns();
  const int64_t values = config.value_columns();
  const int64_t heads = config.value_heads;
  const int64_t inner = config.intermediate_size;
  const int64_t taps = config.conv_width;

  std::vector<LayerTensor> tensors;
  const auto add = [&](std::string_view name, std::vector<int64_t> shape, std::string_view part,
                       HostMatrix W::*field) {
    tensors.push_back({name, std::move(shape), part, field, nullptr});
  };
  const auto add_projection = [&](std::string_view name, int64_t rows, int32_t P::*column) {
    tensors.push_back({name, {rows, hidden}, "mixers", nullptr, column});
  };
  add("attn_norm.weight", {hidden}, "norms", &W::attn_norm);
  add_projection("attn.q_proj.weight", keys, &P::q);
  add_projection("attn.k_proj.weight", keys, &P::k);
  add_projection("attn.v_proj.weight", values, &P::v);
  if (config.output_gate) add_projection("attn.g_proj.weight", values, &P::gate);
  add_projection("attn.a_proj.weight", heads, &P::decay);
  add_projection("attn.b_proj.weight", heads, &P::beta);
  if (config.mixer != MixerKind::kGatedDeltaNet) {
    add_projection("attn.lamb_proj.weight", heads, &P::lambda);
  }
  if (taps > 0) {
    add("attn.q_conv1d.weight", {keys, 1, taps}, "mixers", &W::conv_q);
    add("attn.k_conv1d.weight", {keys, 1, taps}, "mixers", &W::conv_k);
    add("attn.v_conv1d.weight", {values, 1, taps}, "mixers", &W::conv_v);
  }
  add("attn.A_log", {heads}, "mixers", &W::a_log);
  add("attn.dt_bias", {heads}, "mixers", &W::dt_bias);
  add("attn.o_norm.weight", {config.value_dim}, "norms", &W::o_norm);
  add("attn.o_proj.weight", {hidden, values}, "mixers", &W::o_proj);
  add("mlp_norm.weight", {hidden}, "norms", &W::mlp_norm);
  add("mlp.gate_proj.weight", {inner, hidden}, "mlps", &W::mlp_gate);
  add("mlp.up_proj.weight", {inner, hidden}, "mlps", &W::mlp_up);
  add("mlp.down_proj.weight", {hidden, inner}, "mlps", &W::mlp_down);
  return tensors;
}

LayerTensor delta_family_unused(const ModelConfig& config) {
  return {"attn.D", {config.value_heads}, "mixers", nullptr, nullptr};
}

}  // namespace deltaserve
