// A model on a backend: its program loaded once, steps submitted to it.
#pragma once
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/config.h"
#include "models/tokenizer.h"

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
  // Of S; all else that a sequence carries is f32. A format that is not exact takes mixers that
  // decay.
  StateFormat state_format = StateFormat::kF32;
};

// Thread safety: one thread at a time, the engine's.
class Model {
 public:
  // Loads the folder's weights onto `backend`, which must outlive the model and holds nothing yet,
  // and makes room for everything that a step needs. RESOURCE_EXHAUSTED names what does not fit,
  // INVALID_ARGUMENT a state format that a mixer cannot have, UNIMPLEMENTED what the backend cannot
  // do, before any weight is read. Under int4 the embeddings and the output matrix are int8: their
  // errors would meet every token.
  static absl::StatusOr<std::unique_ptr<Model>> load(const ModelFolder& folder, Backend* backend,
                                                     const ModelLimits& limits,
                                                     WeightFormat format = WeightFormat::kAuto);

  // As the methods of Backend.
  Ticket forward(const Step& step) { return backend_->forward(step); }
  void draw(Ticket ticket, Array<Draw> draws) { backend_->draw(ticket, draws); }
  void wait(Ticket ticket, DrawResult* results) { backend_->wait(ticket, results); }

  const ModelConfig& config() const { return config_; }
  const StateLayout& layout() const { return layout_; }
  const ModelLimits& limits() const { return limits_; }
  Backend& backend() { return *backend_; }

  // Bytes that one step of `decode_rows` must read and write: weights once, states twice.
  uint64_t decode_bytes(int decode_rows) const;

 private:
  Model(ModelConfig config, StateLayout layout, const ModelLimits& limits, Backend* backend);

  ModelConfig config_;
  StateLayout layout_;
  ModelLimits limits_;
  Backend* backend_;
};

}  // namespace deltaserve
