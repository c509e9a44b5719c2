#include "models/mapping/layer_mapping.h"

#include <utility>

namespace deltaserve {

LayerMapping::LayerMapping(const LayerConfig& config) : config_(config) {}

LayerTensor& LayerMapping::add_tensor(std::string name, std::vector<int64_t> shape) {
  LayerTensor& tensor = tensors_.emplace_back();
  tensor.name = std::move(name);
  tensor.shape = std::move(shape);
  return tensor;
}

void LayerMapping::add_blocks(std::string name, std::vector<int64_t> shape,
                              const std::vector<RowBlock>& blocks, const List& list) {
  LayerTensor& tensor = add_tensor(std::move(name), std::move(shape));
  for (const RowBlock& block : blocks) {
    const size_t index = list(layer_).size();
    list(layer_).emplace_back();
    tensor.uses.push_back({block.first, block.count,
                           [=](LayerWeights& layer) -> HostMatrix& { return list(layer)[index]; }});
  }
}

LayerTensor& LayerMapping::add(std::string name, std::vector<int64_t> shape,
                               HostMatrix LayerWeights::*field) {
  LayerTensor& tensor = add_tensor(std::move(name), std::move(shape));
  tensor.uses.push_back(
      {0, tensor.shape[0], [field](LayerWeights& layer) -> HostMatrix& { return layer.*field; }});
  return tensor;
}

LayerTensor& LayerMapping::add(std::string name, std::vector<int64_t> shape,
                               Blocks MixerBlocks::*vector) {
  add_blocks(std::move(name), shape, {{0, shape[0]}},
             [vector](LayerWeights& layer) -> Blocks& { return layer.vectors.*vector; });
  return tensors_.back();
}

void LayerMapping::norm(std::string name, int64_t size, HostMatrix LayerWeights::*field) {
  add(std::move(name), {size}, field).part = "norms";
}

void LayerMapping::norm(std::string name, int64_t size, Blocks MixerBlocks::*vector) {
  add(std::move(name), {size}, vector).part = "norms";
}

void LayerMapping::unused(std::string name, std::vector<int64_t> shape) {
  add_tensor(std::move(name), std::move(shape)).presence = Presence::kUnused;
}

int32_t LayerMapping::project(std::string name, int64_t rows, int32_t ProjectionLayout::*column) {
  const int32_t first = layer_.projection.columns;
  project_blocks(std::move(name), rows, {{0, rows, column}}, "");
  return first;
}

void LayerMapping::project_blocks(std::string name, int64_t total_rows,
                                  const std::vector<RowBlock>& blocks, std::string bias) {
  for (const RowBlock& block : blocks) {
    if (block.column != nullptr) layer_.projection.*block.column = layer_.projection.columns;
    layer_.projection.columns += static_cast<int32_t>(block.count);
  }
  add_blocks(std::move(name), {total_rows, config_.hidden_size}, blocks,
             [](LayerWeights& layer) -> Blocks& { return layer.in_proj; });
  if (bias.empty()) return;
  add_blocks(std::move(bias), {total_rows}, blocks,
             [](LayerWeights& layer) -> Blocks& { return layer.in_proj_bias; });
}

void LayerMapping::convolve_blocks(std::string name, int64_t total_channels,
                                   const std::vector<RowBlock>& blocks, std::string bias) {
  add_blocks(std::move(name), {total_channels, 1, config_.mixer.conv_width}, blocks,
             [](LayerWeights& layer) -> Blocks& { return layer.vectors.conv; });
  if (bias.empty()) return;
  add_blocks(std::move(bias), {total_channels}, blocks,
             [](LayerWeights& layer) -> Blocks& { return layer.vectors.conv_bias; });
}

int32_t LayerMapping::expand(const std::string& name, int32_t from, int64_t rows, int64_t columns,
                             int repeat, bool with_bias) {
  const size_t index = layer_.expansions.size();
  const int32_t to = layer_.projection.columns;
  layer_.expansions.push_back({from, to, repeat, {}, {}});
  layer_.projection.columns += static_cast<int32_t>(rows) * repeat;
  add_tensor(name + ".weight", {rows, columns})
      .uses.push_back({0, rows, [index](LayerWeights& layer) -> HostMatrix& {
                         return layer.expansions[index].weight;
                       }});
  if (with_bias) {
    add_tensor(name + ".bias", {rows})
        .uses.push_back({0, rows, [index](LayerWeights& layer) -> HostMatrix& {
                           return layer.expansions[index].bias;
                         }});
  }
  return to;
}

void LayerMapping::queries_keys_values() {
  const MixerShape& mixer = config_.mixer;
  norm("attn_norm.weight", config_.hidden_size, &LayerWeights::mixer_norm);
  project("attn.q_proj.weight", mixer.q_columns(), &ProjectionLayout::q);
  project("attn.k_proj.weight", mixer.k_columns(), &ProjectionLayout::k);
  project("attn.v_proj.weight", mixer.v_columns(), &ProjectionLayout::v);
}

void LayerMapping::convolutions() {
  const MixerShape& mixer = config_.mixer;
  if (mixer.conv_width == 0) return;
  const std::pair<const char*, int64_t> parts[] = {{"attn.q_conv1d.weight", mixer.q_columns()},
                                                   {"attn.k_conv1d.weight", mixer.k_columns()},
                                                   {"attn.v_conv1d.weight", mixer.v_columns()}};
  for (const auto& [name, channels] : parts) convolve_blocks(name, channels, {{0, channels}}, "");
}

void LayerMapping::conditioning() {
  const MixerShape& mixer = config_.mixer;
  if (!mixer.conditioning.on) return;
  using Gate = QueryConditioning::GateInput;
  const Gate gate = mixer.conditioning.gate_input;
  const int64_t rows = gate == Gate::kShared ? 1 : mixer.heads;
  const int64_t columns = int64_t{gate == Gate::kFull ? mixer.heads : 1} * mixer.key_dim;
  add(kConditioningWeight, {rows, columns}, &MixerBlocks::conditioning);
  add("attn.ccq_lambda_proj.bias", {rows}, &MixerBlocks::conditioning_bias);
}

void LayerMapping::output(std::string norm_name) {
  const MixerShape& mixer = config_.mixer;
  if (config_.tensors.norm_weight) {
    norm(std::move(norm_name), mixer.value_dim, &MixerBlocks::norm);
  }
  add("attn.o_proj.weight", {config_.hidden_size, mixer.value_columns()}, &LayerWeights::out_proj);
}

void LayerMapping::mlp() {
  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  norm("mlp_norm.weight", hidden, &LayerWeights::mlp_norm);
  if (config_.tensors.fused_gate_up) {
    LayerTensor& both = add_tensor(kMlpGate, {2 * inner, hidden});
    both.part = "mlps";
    both.uses = {{0, inner, [](LayerWeights& layer) -> HostMatrix& { return layer.mlp_gate; }},
                 {inner, inner, [](LayerWeights& layer) -> HostMatrix& { return layer.mlp_up; }}};
  } else {
    add(kMlpGate, {inner, hidden}, &LayerWeights::mlp_gate).part = "mlps";
    add(kMlpUp, {inner, hidden}, &LayerWeights::mlp_up).part = "mlps";
  }
  add("mlp.down_proj.weight", {hidden, inner}, &LayerWeights::mlp_down).part = "mlps";
}

}  // namespace deltaserve
