#include "models/weights.h"

#include "absl/container/flat_hash_set.h"
#include "models/mapping/delta_family.h"
#include "models/text.h"

namespace deltaserve {
namespace {

constexpr char kEmbeddings[] = "model.embeddings.weight";
constexpr char kNorm[] = "model.norm.weight";
constexpr char kHead[] = "lm_head.weight";

std::string layer_name(int64_t layer, std::string_view name) {
  return str_cat("model.layers.", layer, ".", name);
}

// A vector is one row; a convolution [channels, 1, taps] loses its middle axis.
HostMatrix view(const Tensor& tensor) {
  const std::vector<int64_t>& shape = tensor.info.shape;
  return {tensor.data, tensor.info.dtype, shape.size() == 1 ? 1 : shape.front(), shape.back()};
}

// Looks tensors up by name and shape. The first error stays, as in ConfigReader.
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

  // Lets a tensor be there, with this shape, without using it.
  void allow(const std::string& name, const std::vector<int64_t>& shape) {
    if (tensors_.find(name) != tensors_.end()) take(name, shape);
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

LayerWeights bind_layer(const std::vector<LayerTensor>& tensors, int64_t layer, Binder& binder) {
  LayerWeights weights;
  for (const LayerTensor& tensor : tensors) {
    const HostMatrix matrix = binder.take(layer_name(layer, tensor.name), tensor.shape);
    if (tensor.field != nullptr) {
      weights.*tensor.field = matrix;
    } else {
      weights.projection.*tensor.column = weights.projection.columns;
      weights.projection.columns += static_cast<int32_t>(tensor.shape[0]);
      weights.in_proj.push_back(matrix);
    }
  }
  return weights;
}

}  // namespace

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  const std::vector<int64_t> table{config.vocab_size, config.hidden_size};
  std::vector<TensorSpec> specs;
  specs.push_back({kEmbeddings, table, "embeddings"});
  const std::vector<LayerTensor> layer_tensors = delta_family_layer(config);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const LayerTensor& tensor : layer_tensors) {
      specs.push_back({layer_name(layer, tensor.name), tensor.shape, std::string(tensor.part)});
    }
  }
  specs.push_back({kNorm, {config.hidden_size}, "norms"});
  if (!config.tie_word_embeddings) specs.push_back({kHead, table, "head"});
  return specs;
}

absl::StatusOr<Weights> bind_weights(const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::vector<int64_t> table{config.vocab_size, config.hidden_size};
  Binder binder(checkpoint);
  Weights weights;
  weights.embeddings = binder.take(kEmbeddings, table);
  const std::vector<LayerTensor> layer_tensors = delta_family_layer(config);
  const LayerTensor unused = delta_family_unused(config);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    weights.layers.push_back(bind_layer(layer_tensors, layer, binder));
    binder.allow(layer_name(layer, unused.name), unused.shape);
  }
  weights.norm = binder.take(kNorm, {config.hidden_size});
  if (config.tie_word_embeddings) {
    binder.allow(kHead, table);  // a copy that some writers keep; the embeddings count
    weights.lm_head = weights.embeddings;
  } else {
    weights.lm_head = binder.take(kHead, table);
  }
  absl::Status status = binder.finish();
  if (!status.ok()) return status;
  return weights;
}

}  // namespace deltaserve
