#include "models/model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "models/safetensors.h"

namespace deltaserve {
namespace {

// Collects handles; the first that the backend could not make becomes the error.
class Loader {
 public:
  Loader(Backend* backend, WeightFormat format) : backend_(*backend), format_(format) {}

  MatrixHandle matrix(std::initializer_list<HostMatrix> blocks, const std::string& role) {
    return matrix(blocks.begin(), blocks.size(), role);
  }
  MatrixHandle matrix(const std::vector<HostMatrix>& blocks, const std::string& role) {
    return matrix(blocks.data(), blocks.size(), role);
  }
  VectorHandle vector(const HostMatrix& values, const std::string& role) {
    if (values.data == nullptr) return {};
    const VectorHandle handle = backend_.load_vector(values);
    if (handle.id < 0) fail(role);
    return handle;
  }
  // Vectors end to end; none: no handle.
  VectorHandle vector(const std::vector<HostMatrix>& parts, const std::string& role) {
    std::vector<float> joined;
    for (const HostMatrix& part : parts) {
      for (int64_t i = 0; i < part.columns; ++i) {
        joined.push_back(load_as_f32(part.data, part.dtype, static_cast<size_t>(i)));
      }
    }
    return joined.empty() ? VectorHandle() : vector(joined, 1, role);
  }
  VectorHandle vector(const std::vector<float>& values, int64_t rows, const std::string& role) {
    const auto columns = static_cast<int64_t>(values.size()) / rows;
    return vector(HostMatrix{values.data(), Dtype::kF32, rows, columns}, role);
  }
  const absl::Status& status() const { return status_; }

 private:
  MatrixHandle matrix(const HostMatrix* blocks, size_t count, const std::string& role) {
    const MatrixHandle handle = backend_.load_matrix(blocks, static_cast<int>(count), format_);
    if (handle.id < 0) fail(role);
    return handle;
  }
  void fail(const std::string& role) {
    if (!status_.ok()) return;
    status_ = absl::ResourceExhaustedError(absl::StrCat("not enough memory to load the ", role));
  }

  Backend& backend_;
  const WeightFormat format_;
  absl::Status status_;
};

// The convolutions [channels, width] side by side as the kernels want them: float [width,
// channels].
std::vector<float> transpose_convolutions(const std::vector<HostMatrix>& parts, int64_t width) {
  int64_t channels = 0;
  for (const HostMatrix& part : parts) channels += part.rows;
  std::vector<float> transposed(static_cast<size_t>(width * channels));
  int64_t first = 0;
  for (const HostMatrix& part : parts) {
    for (int64_t c = 0; c < part.rows; ++c) {
      for (int64_t j = 0; j < width; ++j) {
        transposed[static_cast<size_t>(j * channels + first + c)] =
            load_as_f32(part.data, part.dtype, static_cast<size_t>(c * width + j));
      }
    }
    first += part.rows;
  }
  return transposed;
}

// D, stored as one number a channel or one a head.
std::vector<float> skip_per_channel(const HostMatrix& skip, const MixerShape& shape) {
  const int64_t channels = shape.value_columns();
  const int64_t repeat = channels / skip.columns;
  std::vector<float> expanded(static_cast<size_t>(channels));
  for (int64_t i = 0; i < channels; ++i) {
    expanded[static_cast<size_t>(i)] =
        load_as_f32(skip.data, skip.dtype, static_cast<size_t>(i / repeat));
  }
  return expanded;
}

MixerLayer load_mixer(const MixerShape& shape, const LayerWeights& weights, int index,
                      const std::string& role, Loader& load) {
  MixerLayer mixer;
  mixer.index = index;
  mixer.shape = shape;
  mixer.projection = weights.projection;
  if (shape.conv_width > 0) {
    mixer.conv =
        load.vector(transpose_convolutions(weights.conv, shape.conv_width), shape.conv_width, role);
    mixer.conv_bias = load.vector(weights.conv_bias, role);
  }
  mixer.a_log = load.vector(weights.a_log, role);
  mixer.dt_bias = load.vector(weights.dt_bias, role);
  mixer.precond_a_log = load.vector(weights.precond_a_log, role);
  mixer.precond_dt_bias = load.vector(weights.precond_dt_bias, role);
  mixer.precond_center = load.vector(weights.precond_center, role);
  mixer.conditioning = load.vector(weights.conditioning, role);
  mixer.conditioning_bias = load.vector(weights.conditioning_bias, role);
  if (weights.skip.data != nullptr) {
    mixer.skip = load.vector(skip_per_channel(weights.skip, shape), 1, role);
  }
  mixer.norm = load.vector(weights.output_norm, role);
  if (shape.output_norm == OutputNorm::kHead && weights.output_norm.data == nullptr) {
    // A norm without a weight is one of ones.
    mixer.norm = load.vector(std::vector<float>(static_cast<size_t>(shape.value_dim), 1), 1, role);
  }
  return mixer;
}

absl::Status check_state_dtype(const ModelConfig& config, Dtype dtype) {
  if (dtype == Dtype::kF32) return absl::OkStatus();
  if (dtype != Dtype::kBf16) {
    return absl::InvalidArgumentError("the state type must be f32 or bf16");
  }
  if (config.mixer.decay() == Decay::kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", config.model_type,
                     "' has no decay, so the rounding of a bf16 state would never wash out; its "
                     "state type must be f32"));
  }
  return absl::OkStatus();
}

}  // namespace

Model::Model(ModelConfig config, ModelLimits limits, Backend* backend)
    : config_(std::move(config)), limits_(limits), backend_(backend) {}

absl::StatusOr<std::unique_ptr<Model>> Model::load(const ModelFolder& folder, Backend* backend,
                                                   const ModelLimits& limits, WeightFormat format) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder.path);
  if (!checkpoint.ok()) return checkpoint.status();
  ModelConfig config = settled_config(folder.config, *checkpoint);
  absl::StatusOr<Weights> weights = bind_weights(config, *checkpoint);
  if (!weights.ok()) return weights.status();

  if (absl::Status status = check_state_dtype(config, limits.state_dtype); !status.ok()) {
    return status;
  }

  std::unique_ptr<Model> model(new Model(std::move(config), limits, backend));
  if (absl::Status status = model->load_weights(*weights, format); !status.ok()) return status;
  if (absl::Status status = model->allocate_buffers(); !status.ok()) return status;
  return model;
}

absl::Status Model::load_weights(const Weights& weights, WeightFormat format) {
  Loader load(backend_, format == WeightFormat::kInt4 ? WeightFormat::kInt8 : format);
  embeddings_ = load.matrix({weights.embeddings}, "embeddings");
  output_ = config_.tie_word_embeddings ? embeddings_ : load.matrix({weights.lm_head}, "lm_head");
  norm_ = load.vector(weights.norm, "final norm");
  if (!load.status().ok()) return load.status();
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    absl::Status status = load_layer(weights.layers[i], static_cast<int>(i), format);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Model::load_layer(const LayerWeights& weights, int index, WeightFormat format) {
  const std::string role = absl::StrCat("weights of layer ", index);
  Loader load(backend_, format);
  Layer layer;
  layer.mixer_norm = load.vector(weights.mixer_norm, role);
  layer.in_proj = load.matrix(weights.in_proj, role);
  layer.in_proj_bias = load.vector(weights.in_proj_bias, role);
  for (const Expansion& expansion : weights.expansions) {
    layer.expansions.push_back({load.matrix({expansion.weight}, role),
                                load.vector(expansion.bias, role), expansion.from_column,
                                expansion.to_column, expansion.repeat,
                                static_cast<int32_t>(expansion.weight.columns),
                                static_cast<int32_t>(expansion.weight.rows)});
  }
  layer.mixer = load_mixer(config_.mixer, weights, index, role, load);
  layer.out_proj = load.matrix({weights.out_proj}, role);
  layer.out_proj_bias = load.vector(weights.out_proj_bias, role);
  if (config_.intermediate_size > 0) {
    layer.mlp_norm = load.vector(weights.mlp_norm, role);
    layer.mlp_gate_up = load.matrix({weights.mlp_gate, weights.mlp_up}, role);
    layer.mlp_down = load.matrix({weights.mlp_down}, role);
  }
  layers_.push_back(std::move(layer));
  return load.status();
}

absl::Status Model::allocate_buffers() {
  const int64_t rows = limits_.max_rows;
  const int64_t inner = config_.intermediate_size;
  std::vector<std::pair<BufferHandle*, int64_t>> buffers = {
      {&x_, config_.hidden_size},
      {&normed_, config_.hidden_size},
      {&projected_, layers_.front().mixer.projection.columns},
      {&mixed_, config_.mixer.value_columns()}};
  if (inner > 0) buffers.insert(buffers.end(), {{&gate_up_, 2 * inner}, {&activated_, inner}});
  for (const auto& [buffer, columns] : buffers) {
    *buffer = backend_->allocate(rows, columns);
    if (buffer->id < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("not enough memory for steps of ", rows, " rows"));
    }
  }
  if (!backend_->reserve(config_.mixer, rows, limits_.max_sequences, rows, config_.hidden_size,
                         config_.vocab_size)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("not enough memory for the working buffers of steps of ", rows, " rows"));
  }
  layout_ = StateLayout::of(config_.mixer, config_.num_layers, limits_.state_dtype);
  if (!backend_->allocate_states(layout_, limits_.max_sequences)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "not enough memory for ", limits_.max_sequences, " states of ", layout_.bytes(), " bytes"));
  }
  return absl::OkStatus();
}

// normed_ -> projected_
void Model::project(const Layer& layer) {
  backend_->matmul({normed_, 0}, layer.in_proj, {projected_, 0});
  if (layer.in_proj_bias.id >= 0) backend_->add_bias(layer.in_proj_bias, {projected_, 0});
  for (const LoadedExpansion& expansion : layer.expansions) {
    for (int32_t i = 0; i < expansion.repeat; ++i) {
      const BufferColumns from = {projected_, expansion.from_column + i * expansion.from_width};
      const BufferColumns to = {projected_, expansion.to_column + i * expansion.to_width};
      backend_->matmul(from, expansion.weight, to);
      if (expansion.bias.id >= 0) backend_->add_bias(expansion.bias, to);
    }
  }
}

Ticket Model::submit(const StepView& step, const std::vector<Draw>& rows) {
  DS_CHECK(step.num_rows <= limits_.max_rows && step.num_segments <= limits_.max_sequences);
  pending_rows_ = rows.size();
  backend_->begin_step(step);
  backend_->embed(embeddings_, x_);
  for (const Layer& layer : layers_) {
    backend_->rms_norm(x_, layer.mixer_norm, config_.norm_eps, normed_);
    project(layer);
    backend_->mixer_layer(layer.mixer, projected_, mixed_);
    backend_->matmul_add({mixed_, 0}, layer.out_proj, {x_, 0});
    if (layer.out_proj_bias.id >= 0) backend_->add_bias(layer.out_proj_bias, {x_, 0});
    if (config_.intermediate_size == 0) continue;

    backend_->rms_norm(x_, layer.mlp_norm, config_.norm_eps, normed_);
    backend_->matmul({normed_, 0}, layer.mlp_gate_up, {gate_up_, 0});
    backend_->swiglu(gate_up_, activated_);
    backend_->matmul_add({activated_, 0}, layer.mlp_down, {x_, 0});
  }
  if (!rows.empty()) {
    backend_->head(x_, norm_, config_.norm_eps, output_, rows.data(),
                   static_cast<int>(rows.size()));
  }
  return backend_->end_step();
}

void Model::wait(Ticket ticket, std::vector<DrawResult>* results) {
  results->resize(pending_rows_);
  backend_->wait(ticket, results->data());
}

uint64_t Model::decode_bytes(int decode_rows) const {
  uint64_t weights = backend_->weight_bytes();
  // Of an untied embedding a step reads one row per sequence, not the table.
  if (!config_.tie_word_embeddings) weights -= backend_->matrix_bytes(embeddings_);
  return weights + 2 * uint64_t{layout_.bytes()} * static_cast<uint64_t>(decode_rows);
}

}  // namespace deltaserve
