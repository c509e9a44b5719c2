// A model on a backend: it loads its program once and submits steps to it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/program/backend.h"
#include "models/base/final_norm.h"
#include "models/checkpoint/finite.h"
#include "models/mapping/config.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

class ModelProgram;

// A model folder that was read and checked but is not on a backend yet.
struct ModelFolder {
  std::string path;
  ModelConfig config;
  TokenizerSettings settings;
  std::unique_ptr<Tokenizer> tokenizer;  // null: the folder can only serve prompts of token ids
  std::string tokenizer_file;            // the file that was used instead of the folder's
                                         // tokenizer; empty: none
};

struct ModelFolderOptions {
  // Unknown keys that the config may have.
  std::vector<std::string> ignored_config_keys = {};
  std::string tokenizer_file = {};  // the file to use instead of the folder's tokenizer; empty:
                                    // none
};

// Reads the config, the tokenizer and the settings beside it; opens no weights.
absl::StatusOr<ModelFolder> open_model_folder(const std::string& path,
                                              const ModelFolderOptions& options = {});

struct ModelLimits {
  int max_rows = 512;          // rows per step: decode rows and prompt tokens together
  int max_sequences = 32;      // sequences that run together, each in a state slot of its own
  int max_snapshots = 0;       // further slots, after those, for states that are kept
  int max_host_snapshots = 0;  // further states that are kept in the host's memory
  // The format of S; everything else that a sequence carries is f32. An inexact format requires
  // mixers that decay.
  StateFormat state_format = StateFormat::kF32;
};

// Thread safety: one thread at a time, the engine's.
class Model {
 public:
  // Loads the folder's weights onto `backend`, which must outlive the model and hold nothing yet,
  // and allocates everything that a step needs. Under int4 the embeddings and the output matrix are
  // int8, because their errors would affect every token.
  //
  // `progress` is called with how much of the weights' files was read; reading them is the first
  // part of loading.
  //
  // Errors, before any weight is read: INVALID_ARGUMENT names a state format that a mixer cannot
  // have, UNIMPLEMENTED says what the backend cannot do. Later errors: INVALID_ARGUMENT names a
  // tensor that is not finite, RESOURCE_EXHAUSTED says what does not fit into memory.
  static absl::StatusOr<std::unique_ptr<Model>> load(const ModelFolder& folder, Backend* backend,
                                                     const ModelLimits& limits,
                                                     WeightFormat format = WeightFormat::kAuto,
                                                     const ReadProgress& progress = {});

  // These call the methods of Backend.
  Ticket forward(const Step& step) { return backend_->forward(step); }
  void draw(Ticket ticket, Array<Draw> draws) { backend_->draw(ticket, draws); }
  void wait(Ticket ticket, DrawResult* results) { backend_->wait(ticket, results); }

  const ModelConfig& config() const { return config_; }
  const StateLayout& layout() const { return layout_; }
  const FinalNorm& final_norm() const { return final_norm_; }
  const ModelLimits& limits() const { return limits_; }
  // Returns the format that load() was asked for.
  WeightFormat weight_format() const { return weight_format_; }
  Backend& backend() { return *backend_; }

  // Returns the bytes that one step of `decode_rows` must read and write: weights once, states
  // twice.
  uint64_t decode_bytes(int decode_rows) const;

 private:
  Model(ModelConfig config, const ModelProgram& program, const ModelLimits& limits,
        WeightFormat format, Backend* backend);

  ModelConfig config_;
  StateLayout layout_;
  FinalNorm final_norm_;
  ModelLimits limits_;
  WeightFormat weight_format_;
  Backend* backend_;
};

}  // namespace deltaserve
