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
  explicit Loader(Backend* backend) : backend_(*backend) {}

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
  const absl::Status& status() const { return status_; }

 private:
  MatrixHandle matrix(const HostMatrix* blocks, size_t count, const std::string& role) {
    const MatrixHandle handle = backend_.load_matrix(blocks, static_cast<int>(count));
    if (handle.id < 0) fail(role);
    return handle;
  }
  void fail(const std::string& role) {
    if (!status_.ok()) return;
    status_ = absl::ResourceExhaustedError(absl::StrCat("not enough memory to load the ", role));
  }

  Backend& backend_;
  absl::Status status_;
};

// The three convolutions [channels, width] side by side as the kernels want them: float [width,
// channels].
std::vector<float> transpose_convolutions(const LayerWeights& weights, int64_t width) {
  const HostMatrix* parts[] = {&weights.conv_q, &weights.conv_k, &weights.conv_v};
  int64_t channels = 0;
  for (const HostMatrix* part : parts) channels += part->rows;
  std::vector<float> transposed(static_cast<size_t>(width * channels));
  int64_t first = 0;
  for (const HostMatrix* part : parts) {
    for (int64_t c = 0; c < part->rows; ++c) {
      for (int64_t j = 0; j < width; ++j) {
        transposed[static_cast<size_t>(j * channels + first + c)] =
            load_as_f32(part->data, part->dtype, static_cast<size_t>(c * width + j));
      }
    }
    first += part->rows;
  }
  return transposed;
}

MixerLayer mixer_layer(const ModelConfig& config, const ProjectionLayout& projection, int index) {
  MixerLayer layer;
  layer.kind = config.mixer;
  layer.index = index;
  layer.heads = static_cast<int32_t>(config.heads);
  layer.value_heads = static_cast<int32_t>(config.value_heads);
  layer.key_dim = static_cast<int32_t>(config.key_dim);
  layer.value_dim = static_cast<int32_t>(config.value_dim);
  layer.conv_width = static_cast<int32_t>(config.conv_width);
  layer.gate_factor = config.allow_neg_eigval ? 2.0f : 1.0f;
  layer.lambda_bias = config.lambda_bias;
  layer.norm_eps = config.norm_eps;
  layer.projection = projection;
  return layer;
}

}  // namespace

Model::Model(ModelConfig config, ModelLimits limits, Backend* backend)
    : config_(std::move(config)), limits_(limits), backend_(backend) {}

absl::StatusOr<std::unique_ptr<Model>> Model::load(const ModelFolder& folder, Backend* backend,
                                                   const ModelLimits& limits) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder.path);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<Weights> weights = bind_weights(folder.config, *checkpoint);
  if (!weights.ok()) return weights.status();

  std::unique_ptr<Model> model(new Model(folder.config, limits, backend));
  if (absl::Status status = model->load_weights(*weights); !status.ok()) return status;
  if (absl::Status status = model->allocate_buffers(); !status.ok()) return status;
  return model;
}

absl::Status Model::load_weights(const Weights& weights) {
  Loader load(backend_);
  embeddings_ = load.matrix({weights.embeddings}, "embeddings");
  output_ = config_.tie_word_embeddings ? embeddings_ : load.matrix({weights.lm_head}, "lm_head");
  norm_ = load.vector(weights.norm, "final norm");
  if (!load.status().ok()) return load.status();
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    absl::Status status = load_layer(weights.layers[i], static_cast<int>(i));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Model::load_layer(const LayerWeights& weights, int index) {
  const std::string role = absl::StrCat("weights of layer ", index);
  Loader load(backend_);
  Layer layer;
  layer.attn_norm = load.vector(weights.attn_norm, role);
  layer.in_proj = load.matrix(weights.in_proj, role);
  layer.o_proj = load.matrix({weights.o_proj}, role);
  layer.mlp_norm = load.vector(weights.mlp_norm, role);
  layer.mlp_gate_up = load.matrix({weights.mlp_gate, weights.mlp_up}, role);
  layer.mlp_down = load.matrix({weights.mlp_down}, role);

  layer.mixer = mixer_layer(config_, weights.projection, index);
  layer.mixer.a_log = load.vector(weights.a_log, role);
  layer.mixer.dt_bias = load.vector(weights.dt_bias, role);
  layer.mixer.norm = load.vector(weights.o_norm, role);
  if (config_.conv_width > 0) {
    const std::vector<float> conv = transpose_convolutions(weights, config_.conv_width);
    layer.mixer.conv =
        load.vector({conv.data(), Dtype::kF32, config_.conv_width, layer.mixer.channels()}, role);
  }
  layers_.push_back(layer);
  return load.status();
}

absl::Status Model::allocate_buffers() {
  const int64_t rows = limits_.max_rows;
  const int64_t columns = layers_.front().mixer.projection.columns;
  x_ = backend_->allocate(rows, config_.hidden_size);
  normed_ = backend_->allocate(rows, config_.hidden_size);
  projected_ = backend_->allocate(rows, columns);
  mixed_ = backend_->allocate(rows, config_.value_columns());
  gate_up_ = backend_->allocate(rows, 2 * config_.intermediate_size);
  activated_ = backend_->allocate(rows, config_.intermediate_size);
  for (BufferHandle buffer : {x_, normed_, projected_, mixed_, gate_up_, activated_}) {
    if (buffer.id < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("not enough memory for steps of ", rows, " rows"));
    }
  }
  if (!backend_->reserve(layers_.front().mixer, rows, limits_.max_sequences, rows,
                         config_.hidden_size, config_.vocab_size)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("not enough memory for the working buffers of steps of ", rows, " rows"));
  }
  layout_ = state_layout(config_);
  if (!backend_->allocate_states(layout_, limits_.max_sequences)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "not enough memory for ", limits_.max_sequences, " states of ", layout_.bytes(), " bytes"));
  }
  return absl::OkStatus();
}

Ticket Model::submit(const StepView& step, const std::vector<HeadRow>& rows) {
  DS_CHECK(step.num_rows <= limits_.max_rows && step.num_segments <= limits_.max_sequences);
  pending_rows_ = rows.size();
  backend_->begin_step(step);
  backend_->embed(embeddings_, x_);
  for (const Layer& layer : layers_) {
    backend_->rms_norm(x_, layer.attn_norm, config_.norm_eps, normed_);
    backend_->matmul(normed_, layer.in_proj, projected_);
    backend_->mixer_layer(layer.mixer, projected_, mixed_);
    backend_->matmul_add(mixed_, layer.o_proj, x_);

    backend_->rms_norm(x_, layer.mlp_norm, config_.norm_eps, normed_);
    backend_->matmul(normed_, layer.mlp_gate_up, gate_up_);
    backend_->swiglu(gate_up_, activated_);
    backend_->matmul_add(activated_, layer.mlp_down, x_);
  }
  if (!rows.empty()) {
    backend_->head(x_, norm_, config_.norm_eps, output_, rows.data(),
                   static_cast<int>(rows.size()));
  }
  return backend_->end_step();
}

void Model::wait(Ticket ticket, std::vector<HeadResult>* results) {
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
