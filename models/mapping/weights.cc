#include "models/mapping/weights.h"

#include "absl/container/flat_hash_set.h"
#include "kernels/base/check.h"
#include "models/base/text.h"
#include "models/mapping/family.h"

namespace deltaserve {
namespace {

const ModelFamily& family_of(const ModelConfig& config) {
  const ModelFamily* family = find_family(config.model_type);
  DS_CHECK(family != nullptr);  // parse_model_config() refuses others
  return *family;
}
const ModelFamily& family_of(const LayerConfig& layer) {
  return *find_family(layer.model_type);
}

// The names of a family's tensors outside the layers.
struct Names {
  explicit Names(const ModelFamily& family) : Names(family, family.root, "embeddings.weight", "") {}
  Names(const ModelFamily& family, std::string_view the_root, std::string_view table,
        std::string_view before_head)
      : root(the_root),
        embeddings(str_cat(root, table)),
        norm(str_cat(root, family.final_norm)),
        head(str_cat(before_head, "lm_head.weight")) {}

  // Returns the names that the checkpoint has: those of the family, those of a base model that was
  // saved alone (no root), and for Mamba-2 those of mamba_ssm and of Mistral.
  static Names in(const ModelFamily& family, const Checkpoint& checkpoint) {
    Names own(family);
    const Names others[] = {
        Names(family, "", "embeddings.weight", ""),
        Names(family, family.root, "embedding.weight", ""),
        Names(family, str_cat("model.", family.root), "embedding.weight", "model.")};
    const auto has = [&](const Names& names) {
      return checkpoint.tensors().contains(names.embeddings);
    };
    if (has(own)) return own;
    for (const Names& names : others) {
      if (has(names)) return names;
    }
    return own;
  }

  std::string in_layer(int64_t layer, std::string_view name) const {
    return str_cat(root, "layers.", layer, ".", name);
  }

  std::string root, embeddings, norm, head;
};

LayerMapping map_layer(const LayerConfig& layer) {
  LayerMapping mapping(layer);
  if (layer.has_mixer) family_of(layer).map_mixer(layer, &mapping);
  if (layer.intermediate_size > 0) mapping.mlp();
  return mapping;
}

// Returns a matrix of a tensor's data. A vector is one row; a convolution [channels, 1, taps] loses
// its middle axis.
HostMatrix view(const Tensor& tensor) {
  const std::vector<int64_t>& shape = tensor.info.shape;
  return {tensor.data, tensor.info.dtype, shape.size() == 1 ? 1 : shape.front(), shape.back()};
}

// Returns the rows of a matrix, or the elements of a vector, that `use` names.
HostMatrix cut(const HostMatrix& whole, bool is_vector, const TensorUse& use) {
  const int64_t stride = is_vector ? 1 : whole.columns;
  HostMatrix part = whole;
  part.data = static_cast<const char*>(whole.data) +
              use.first * stride * static_cast<int64_t>(dtype_size(whole.dtype));
  (is_vector ? part.columns : part.rows) = use.count;
  return part;
}

// Finds tensors by name and shape. The first error is kept, as in ConfigReader.
class Binder {
 public:
  explicit Binder(const Checkpoint& checkpoint) : tensors_(checkpoint.tensors()) {}

  HostMatrix take(const std::string& name, const std::vector<int64_t>& shape) {
    if (!status_.ok()) return {};
    const auto entry = tensors_.find(name);
    if (entry == tensors_.end()) {
      status_ = invalid_argument("the checkpoint has no tensor ", quoted(name),
                                 ", which the config needs ", "with shape ", shape_text(shape));
      return {};
    }
    if (entry->second.info.shape != shape) {
      status_ = invalid_argument("tensor ", quoted(name), " has shape ",
                                 shape_text(entry->second.info.shape), ", the config makes it ",
                                 shape_text(shape));
      return {};
    }
    taken_.insert(name);
    return view(entry->second);
  }

  bool has(const std::string& name) const { return tensors_.find(name) != tensors_.end(); }
  // Allows a tensor to exist with this shape without using it.
  void allow(const std::string& name, const std::vector<int64_t>& shape) {
    if (has(name)) take(name, shape);
  }

  absl::Status finish() const {
    if (!status_.ok()) return status_;
    for (const auto& [name, tensor] : tensors_) {
      if (taken_.contains(name)) continue;
      return invalid_argument("the checkpoint has tensor ", quoted(name), " ",
                              shape_text(tensor.info.shape), ", which the config has no use for");
    }
    return absl::OkStatus();
  }

 private:
  const std::map<std::string, Tensor>& tensors_;
  absl::flat_hash_set<std::string> taken_;
  absl::Status status_;
};

LayerWeights bind_layer(const LayerMapping& mapping, const Names& names, int64_t layer,
                        Binder& binder) {
  LayerWeights weights = mapping.layer();
  for (const LayerTensor& tensor : mapping.tensors()) {
    std::string name = names.in_layer(layer, tensor.name);
    if (!tensor.old_name.empty() && !binder.has(name)) {
      const std::string old_name = names.in_layer(layer, tensor.old_name);
      if (binder.has(old_name)) name = old_name;
    }
    if (tensor.presence != Presence::kRequired && !binder.has(name)) continue;
    const HostMatrix whole = binder.take(name, tensor.shape);
    if (whole.data == nullptr) continue;
    for (const TensorUse& use : tensor.uses) {
      use.target(weights) = cut(whole, tensor.shape.size() == 1, use);
    }
  }
  return weights;
}

// Returns true if the gate matrix of a layer's MLP has the rows of the up matrix as well.
bool has_fused_mlp(const LayerConfig& layer, const Names& names, int64_t index,
                   const Checkpoint& checkpoint) {
  if (layer.intermediate_size == 0) return false;
  const auto gate = checkpoint.tensors().find(names.in_layer(index, kMlpGate));
  return gate != checkpoint.tensors().end() &&
         !checkpoint.tensors().contains(names.in_layer(index, kMlpUp)) &&
         gate->second.info.shape ==
             std::vector<int64_t>{2 * layer.intermediate_size, layer.hidden_size};
}

}  // namespace

ModelConfig settled_config(ModelConfig config, const Checkpoint& checkpoint) {
  const Names names = Names::in(family_of(config), checkpoint);
  for (int64_t i = 0; i < config.num_layers(); ++i) {
    LayerConfig& layer = config.layers[static_cast<size_t>(i)];
    layer.tensors.fused_gate_up = has_fused_mlp(layer, names, i, checkpoint);
    QueryConditioning& ccq = layer.mixer.conditioning;
    if (!layer.has_mixer || !ccq.on || layer.tensors.conditioning_gate_said) continue;
    const auto tensor = checkpoint.tensors().find(names.in_layer(i, kConditioningWeight));
    if (tensor == checkpoint.tensors().end()) continue;
    const std::vector<int64_t>& shape = tensor->second.info.shape;
    const int64_t heads = layer.mixer.heads;
    const int64_t dim = layer.mixer.key_dim;
    using Gate = QueryConditioning::GateInput;
    if (shape == std::vector<int64_t>{heads, dim}) ccq.gate_input = Gate::kPerHead;
    if (shape == std::vector<int64_t>{heads, heads * dim}) ccq.gate_input = Gate::kFull;
    layer.tensors.conditioning_gate_said = true;
  }
  return config;
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  const std::vector<int64_t> table{config.vocab_size, config.hidden_size};
  std::vector<TensorSpec> specs;
  const Names names(family_of(config));
  specs.push_back({names.embeddings, table, "embeddings"});
  for (int64_t layer = 0; layer < config.num_layers(); ++layer) {
    const LayerMapping mapping = map_layer(config.layers[static_cast<size_t>(layer)]);
    for (const LayerTensor& tensor : mapping.tensors()) {
      if (tensor.presence == Presence::kUnused) continue;
      specs.push_back({names.in_layer(layer, tensor.name), tensor.shape, tensor.part});
    }
  }
  specs.push_back({names.norm, {config.hidden_size}, "norms"});
  if (!config.tie_word_embeddings) specs.push_back({names.head, table, "logits head"});
  return specs;
}

absl::StatusOr<Weights> bind_weights(const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::vector<int64_t> table{config.vocab_size, config.hidden_size};
  Binder binder(checkpoint);
  Weights weights;
  const Names names = Names::in(family_of(config), checkpoint);
  weights.embeddings = binder.take(names.embeddings, table);
  for (int64_t layer = 0; layer < config.num_layers(); ++layer) {
    const LayerMapping mapping = map_layer(config.layers[static_cast<size_t>(layer)]);
    weights.layers.push_back(bind_layer(mapping, names, layer, binder));
  }
  weights.norm = binder.take(names.norm, {config.hidden_size});
  if (config.tie_word_embeddings) {
    binder.allow(names.head, table);  // some writers store a copy; the embeddings are used
    weights.lm_head = weights.embeddings;
  } else {
    weights.lm_head = binder.take(names.head, table);
  }
  absl::Status status = binder.finish();
  if (!status.ok()) return status;
  return weights;
}

}  // namespace deltaserve
