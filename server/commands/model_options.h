// The options that commands share to choose a model and its resources, and the loading of the
// model.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/loop/engine.h"
#include "kernels/base/thread_pool.h"
#include "kernels/module/module_backend.h"
#include "kernels/program/backend.h"
#include "models/model.h"

namespace deltaserve {

enum class Device : uint8_t {
  kAuto,  // CUDA if its module and a device are present, else the CPU
  kCpu,
  kCuda,
};

inline constexpr int kMaxSequences = (1 << 16) - 1;  // what one launch on a GPU takes

struct ModelOptions {
  std::string folder;    // or the name of a model on the Hub
  bool offline = false;  // a model of the Hub is not downloaded
  std::vector<std::string> ignored_config_keys;
  std::string tokenizer;  // a file; empty: the folder's
  Device device = Device::kAuto;
  WeightFormat weights = WeightFormat::kAuto;
  int threads = 0;  // of the CPU's kernels; 0: one per core that it may use
  int max_sequences = 32;
  uint64_t state_memory = 0;  // bytes; 0: max_sequences says
  int step_tokens = 512;
  StateFormat state_format = StateFormat::kF32;
  // Bytes for the kept states of prompts; nullopt: a share of the machine's free memory.
  std::optional<uint64_t> prefix_cache_memory = 0;
  uint64_t prefix_cache_host_memory = 0;  // bytes beside a device with memory of its own
  bool many_answers = false;              // a request may want more answers than there are slots
};

// Adds --ignore-config-key.
void add_ignored_keys_option(CLI::App* command, std::vector<std::string>* keys);
// Adds MODEL, --model, --offline, --ignore-config-key and --tokenizer. The callback of the command
// calls require_model() or settle_model().
void add_model_source_options(CLI::App* command, ModelOptions* options);
// Adds the options above and --device, --weights, --state-dtype and --threads.
void add_model_options(CLI::App* command, ModelOptions* options);
// Adds --step-tokens.
void add_step_tokens_option(CLI::App* command, ModelOptions* options);
// Adds --max-sequences, --state-memory and --step-tokens.
void add_capacity_options(CLI::App* command, ModelOptions* options);

// A LoadedModel is ready to run. Its members depend on those above them.
struct LoadedModel {
  std::string hub_name;  // owner/model; empty: the model is a folder
  ModelFolder folder;
  std::unique_ptr<ThreadPool> threads;  // null on CUDA
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  bool share_prefixes = false;    // the model's snapshots are for all prompts (EngineOptions)
  std::string why_cpu;            // the reason for which kAuto chose the CPU, else empty
  bool cuda_is_unusable = false;  // although its module is there
};

// Finds the folder, opens it, prints its warnings on stderr, and loads the weights onto the device.
// Returns FAILED_PRECONDITION if there is no CUDA, but kCuda or an option that only CUDA has was
// set.
absl::StatusOr<LoadedModel> load_model(const ModelOptions& options);

// Returns the engine's options for a loaded model, without its fingerprint.
EngineOptions engine_options(const LoadedModel& loaded);
// Returns the vocabulary of the folder's tokenizer, or an empty one.
const Vocabulary* vocabulary_of(const ModelFolder& folder);
// Returns the token that goes in front of text prompts, -1 = none.
int32_t bos_to_prepend(const ModelFolder& folder);

// Prints "deltaserve: message" on stderr and returns the exit code for it.
int report(const absl::Status& status);

}  // namespace deltaserve
