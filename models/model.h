// A model on a backend: weights loaded once, steps submitted to it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/config.h"
#include "models/tokenizer.h"
#include "models/weights.h"

namespace deltaserve {

// A model folder that has been read and checked, before it is put on a backend.
struct ModelFolder {
  std::string path;
  ModelConfig config;
  GenerationDefaults defaults;
  std::unique_ptr<Tokenizer> tokenizer;  // null: the folder is served for token-id prompts only
};

// Reads config, tokenizer and generation defaults; opens no weights.
absl::StatusOr<ModelFolder> open_model_folder(const std::string& path);

struct ModelLimits {
  int max_rows = 512;      // rows of one step: decode rows and prompt tokens together
  int max_sequences = 32;  // state slots
  // Of S; all else that a sequence carries is f32. kBf16 takes a mixer that decays.
  Dtype state_dtype = Dtype::kF32;
};

// Thread safety: one thread at a time, the engine's.
class Model {
 public:
  // Loads the folder's weights onto `backend`, which must outlive the model, and allocates every
  // buffer that a step needs. RESOURCE_EXHAUSTED names what does not fit, INVALID_ARGUMENT a state
  // type that the mixer cannot have. Under int4 the embeddings and the output matrix are int8:
  // their errors would meet every token.
  static absl::StatusOr<std::unique_ptr<Model>> load(const ModelFolder& folder, Backend* backend,
                                                     const ModelLimits& limits,
                                                     WeightFormat format = WeightFormat::kAuto);

  // Queues one step; `rows` says what is wanted of which row's logits.
  Ticket submit(const StepView& step, const std::vector<Draw>& rows);
  // Blocks until the step is done; `results` becomes one entry per row asked for.
  void wait(Ticket ticket, std::vector<DrawResult>* results);

  const ModelConfig& config() const { return config_; }
  const StateLayout& layout() const { return layout_; }
  const ModelLimits& limits() const { return limits_; }
  Backend& backend() { return *backend_; }

  // Bytes that one step of `decode_rows` must read and write: weights once, states twice.
  uint64_t decode_bytes(int decode_rows) const;

 private:
  // As Expansion, on the backend.
  struct LoadedExpansion {
    MatrixHandle weight;
    VectorHandle bias;
    int32_t from_column, to_column, repeat;
    int32_t from_width, to_width;
  };
  struct Layer {
    VectorHandle mixer_norm, mlp_norm, in_proj_bias, out_proj_bias;
    MatrixHandle in_proj, out_proj, mlp_gate_up, mlp_down;
    std::vector<LoadedExpansion> expansions;
    MixerLayer mixer;
  };

  Model(ModelConfig config, ModelLimits limits, Backend* backend);
  absl::Status load_weights(const Weights& weights, WeightFormat format);
  absl::Status load_layer(const LayerWeights& weights, int index, WeightFormat format);
  absl::Status allocate_buffers();
  void project(const Layer& layer);

  ModelConfig config_;
  ModelLimits limits_;
  Backend* backend_;
  StateLayout layout_;
  MatrixHandle embeddings_, output_;
  VectorHandle norm_;
  std::vector<Layer> layers_;
  // Activations, float [max_rows, ...].
  BufferHandle x_;          // [hidden] residual stream
  BufferHandle normed_;     // [hidden]
  BufferHandle projected_;  // [projection columns]
  BufferHandle mixed_;      // [value_columns]
  BufferHandle gate_up_;    // [2 * intermediate]; this and the next only with an MLP
  BufferHandle activated_;  // [intermediate]

  size_t pending_rows_ = 0;  // asked for in the step under way
};

}  // namespace deltaserve
