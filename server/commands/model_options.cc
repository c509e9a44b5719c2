#include "server/commands/model_options.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/checkpoint/safetensors.h"
#include "server/base/machine_memory.h"
#include "server/commands/choice_option.h"
#include "server/commands/hub_options.h"
#include "server/commands/human_bytes.h"

namespace deltaserve {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxSequences = (1 << 16) - 1;  // what one launch on a GPU takes
constexpr int kMaxStepTokens = 1 << 14;

void use_cpu(const ModelOptions& options, LoadedModel* loaded) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  loaded->threads = std::make_unique<ThreadPool>(options.threads > 0 ? options.threads : cores);
  loaded->backend = make_cpu_backend(loaded->threads.get());
}

absl::Status choose_device(const ModelOptions& options, LoadedModel* loaded) {
  CudaBackend cuda;
  if (options.device != Device::kCpu) cuda = load_cuda_backend("", options.cuda);
  if (cuda.backend != nullptr) {
    loaded->backend = std::move(cuda.backend);
    return absl::OkStatus();
  }
  if (options.device == Device::kCuda) {
    return absl::FailedPreconditionError(absl::StrCat("--device cuda: ", cuda.reason));
  }
  if (options.cuda.library_matmuls) {
    return absl::FailedPreconditionError(
        absl::StrCat("--cuda-products is for CUDA: ",
                     options.device == Device::kCpu ? "--device is cpu" : cuda.reason));
  }
  loaded->why_cpu = std::move(cuda.reason);
  loaded->cuda_is_unusable = cuda.found;
  use_cpu(options, loaded);
  return absl::OkStatus();
}

// Returns at most so many bytes as the weights take in memory.
absl::StatusOr<uint64_t> weight_bytes(const std::string& folder, WeightFormat format) {
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    const bool is_wide = format == WeightFormat::kF32 ||
                         (format == WeightFormat::kAuto && tensor.info.dtype != Dtype::kBf16);
    bytes += (is_wide ? 4 : 2) * static_cast<uint64_t>(tensor.info.num_elements());
  }
  return bytes;
}

// Returns how many snapshots the options ask for, or how many the machine has room for. On CUDA the
// machine's memory says nothing about the device's, so there are none unless they are asked for.
absl::StatusOr<int> choose_snapshots(const ModelOptions& options, const ModelLimits& limits,
                                     const LoadedModel& loaded) {
  const uint64_t bytes = state_layout(loaded.folder.config, limits.state_format).bytes();
  const auto slots = static_cast<uint64_t>(limits.max_sequences);
  if (options.prefix_cache_memory) {
    const uint64_t wanted = *options.prefix_cache_memory / bytes;
    if (wanted == 0 && *options.prefix_cache_memory > 0) {
      return absl::InvalidArgumentError(absl::StrCat("--prefix-cache-memory is below the ",
                                                     human_bytes(bytes), " of one snapshot"));
    }
    return static_cast<int>(std::min(wanted, kMaxSequences - slots));
  }
  if (loaded.threads == nullptr) return 0;
  const absl::StatusOr<int> snapshots = default_snapshots(loaded.folder, options);
  if (!snapshots.ok()) return snapshots.status();
  return std::min(*snapshots, kMaxSequences - limits.max_sequences);
}

// Falls back to the CPU where CUDA cannot run the model, unless CUDA was asked for.
absl::Status put_on_device(const ModelOptions& options, ModelLimits limits, LoadedModel* loaded) {
  absl::Status status = choose_device(options, loaded);
  if (!status.ok()) return status;
  const auto load = [&]() -> absl::StatusOr<std::unique_ptr<Model>> {
    const absl::StatusOr<int> snapshots = choose_snapshots(options, limits, *loaded);
    if (!snapshots.ok()) return snapshots.status();
    limits.max_snapshots = *snapshots;
    return Model::load(loaded->folder, loaded->backend.get(), limits, options.weights);
  };
  absl::StatusOr<std::unique_ptr<Model>> model = load();
  if (absl::IsUnimplemented(model.status())) {
    const std::string refusal(model.status().message());
    if (options.device == Device::kCuda) {
      return absl::FailedPreconditionError(absl::StrCat("--device cuda: ", refusal));
    }
    if (options.cuda.library_matmuls) {
      return absl::FailedPreconditionError(absl::StrCat("--cuda-products is for CUDA: ", refusal));
    }
    loaded->why_cpu = refusal;
    use_cpu(options, loaded);
    model = load();
  }
  if (!model.ok()) return model.status();
  loaded->model = *std::move(model);
  return absl::OkStatus();
}

}  // namespace

void add_ignored_keys_option(CLI::App* command, std::vector<std::string>* keys) {
  command
      ->add_option("--ignore-config-key", *keys,
                   "Load the model although its config has this key, which is not known and may "
                   "change what the model computes; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY");
}

void add_tokenizer_option(CLI::App* command, std::string* file) {
  command
      ->add_option("--tokenizer", *file,
                   "A tokenizer.json or a sentencepiece model to use instead of the folder's")
      ->type_name("FILE");
}

void add_model_options(CLI::App* command, ModelOptions* options) {
  command
      ->add_option("--model", options->folder,
                   "Folder with config.json, model.safetensors (or shards) and tokenizer.json or "
                   "tokenizer.model; or owner/model[@revision] on the Hub, which is taken from its "
                   "cache on this machine or fetched; or bundled, the small model that comes with "
                   "deltaserve")
      ->required()
      ->type_name("DIR|NAME");
  add_offline_option(command, &options->offline);
  add_ignored_keys_option(command, &options->ignored_config_keys);
  add_tokenizer_option(command, &options->tokenizer);
  take_one_of<Device>(
      command->add_option(
          "--device", options->device,
          "Compute device: cpu, cuda, or auto, which is cuda where a GPU and "
          "libdeltaserve_cuda.so (beside the program, on the library path, or named by "
          "DELTASERVE_CUDA_MODULE) are there, else cpu"),
      {{"auto", Device::kAuto}, {"cpu", Device::kCpu}, {"cuda", Device::kCuda}});
  take_one_of<bool>(
      command->add_option("--cuda-products", options->cuda.library_matmuls,
                          "Matrix multiplication on CUDA: tensor (own kernels; for prompts one "
                          "self-tested algorithm of cuBLASLt: same result in any batch), or "
                          "library (the algorithm that cuBLASLt picks for the number of rows: "
                          "the result depends on the batch) (default: tensor)"),
      {{"tensor", false}, {"library", true}});
  take_one_of<WeightFormat>(
      command->add_option("--weights", options->weights,
                          "Weights' in-memory format: auto (the checkpoint's), f32, bf16, and "
                          "on a CPU int8 or int4 (embeddings and output matrix: int8)"),
      {{"auto", WeightFormat::kAuto},
       {"f32", WeightFormat::kF32},
       {"bf16", WeightFormat::kBf16},
       {"int8", WeightFormat::kInt8},
       {"int4", WeightFormat::kInt4}});
  command
      ->add_option("--threads", options->threads,
                   "CPU compute threads, including the calling one (default: one per "
                   "core)")
      ->check(CLI::Range(1, kMaxThreads))
      ->type_name("N");
  take_one_of<StateFormat>(
      command->add_option("--state-dtype", options->state_format,
                          "Number format of the states: f32, or bf16, which takes half the memory "
                          "and costs accuracy; mixers without decay refuse bf16 (default: f32)"),
      {{"f32", StateFormat::kF32}, {"bf16", StateFormat::kBf16}});
}

void add_capacity_options(CLI::App* command, ModelOptions* options) {
  auto* sequences =
      command
          ->add_option("--max-sequences", options->max_sequences,
                       "Sequences that run at once; each owns a state slot of fixed size")
          ->check(CLI::Range(1, kMaxSequences))
          ->type_name("N")
          ->capture_default_str();
  command
      ->add_option("--state-memory", options->state_memory,
                   "Memory for state slots instead of a number of them, for instance 512MiB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->type_name("SIZE")
      ->excludes(sequences);
  command
      ->add_option("--step-tokens", options->step_tokens,
                   "Tokens of one step, decode rows and prompt pieces together")
      ->check(CLI::Range(64, kMaxStepTokens))
      ->type_name("N")
      ->capture_default_str();
}

void add_prefix_cache_options(CLI::App* command, ModelOptions* options) {
  command
      ->add_option("--prefix-cache-memory", options->prefix_cache_memory,
                   "Memory for snapshots: states of prompts, from which prompts with the same "
                   "beginning go on. 0 = none (default: a quarter of what the machine or its "
                   "control group has left, at most 512 snapshots; on CUDA 0)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->type_name("SIZE");
}

absl::StatusOr<int> default_snapshots(const ModelFolder& folder, const ModelOptions& options) {
  const std::optional<uint64_t> available = available_memory();
  if (!available) return 0;
  const absl::StatusOr<uint64_t> weights = weight_bytes(folder.path, options.weights);
  if (!weights.ok()) return weights.status();
  const uint64_t state = state_layout(folder.config, options.state_format).bytes();
  const uint64_t slots = options.state_memory != 0
                             ? options.state_memory
                             : state * static_cast<uint64_t>(options.max_sequences);
  return snapshots_that_fit(*available, *weights + slots, state);
}

absl::StatusOr<LoadedModel> load_model(const ModelOptions& options) {
  LoadedModel loaded;
  const ModelFolderOptions opening{.ignored_config_keys = options.ignored_config_keys,
                                   .tokenizer_file = options.tokenizer};
  absl::StatusOr<FoundModel> found = locate_model(options.folder, options.offline, opening);
  if (!found.ok()) return found.status();
  loaded.hub_name = std::move(found->name);
  absl::StatusOr<ModelFolder> folder = open_model_folder(found->folder, opening);
  if (!folder.ok()) return folder.status();
  loaded.folder = *std::move(folder);
  for (const std::string& warning : loaded.folder.config.warnings) {
    absl::FPrintF(stderr, "deltaserve: %s\n", warning);
  }
  ModelLimits limits;
  limits.max_rows = options.step_tokens;
  limits.max_sequences = options.max_sequences;
  limits.state_format = options.state_format;
  if (options.state_memory != 0) {
    const uint64_t bytes = state_layout(loaded.folder.config, options.state_format).bytes();
    const uint64_t slots = std::min<uint64_t>(options.state_memory / bytes, kMaxSequences);
    if (slots == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--state-memory is below the ", human_bytes(bytes), " of one sequence"));
    }
    limits.max_sequences = static_cast<int>(slots);
  }
  // Beside a decode row of every sequence a step has room for one piece of a prompt.
  limits.max_rows = std::max(limits.max_rows, limits.max_sequences + kChunkTokens);
  if (const absl::Status status = put_on_device(options, limits, &loaded); !status.ok()) {
    return status;
  }
  return loaded;
}

EngineOptions engine_options(const LoadedModel& loaded) {
  EngineOptions options;
  options.max_step_tokens = loaded.model->limits().max_rows;
  options.eos_token_ids = loaded.folder.config.eos_token_ids;
  return options;
}

const Vocabulary* vocabulary_of(const ModelFolder& folder) {
  static const Vocabulary kNone;
  return folder.tokenizer != nullptr ? &folder.tokenizer->vocabulary() : &kNone;
}

int32_t bos_to_prepend(const ModelFolder& folder) {
  if (!folder.settings.add_bos_token || folder.tokenizer == nullptr) return -1;
  if (folder.tokenizer->decides_surroundings()) return -1;
  return folder.config.bos_token_id >= 0 ? folder.config.bos_token_id
                                         : folder.tokenizer->piece_id("<s>");
}

int report(const absl::Status& status) {
  absl::FPrintF(stderr, "deltaserve: %s\n", std::string(status.message()));
  return 1;
}

}  // namespace deltaserve
