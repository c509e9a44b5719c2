#include "server/commands/model_options.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/base/human_bytes.h"
#include "server/base/processors.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/hub_options.h"
#include "server/commands/prefix_cache_options.h"
#include "server/commands/terminal_progress.h"

namespace deltaserve {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMinStepTokens = 64;
constexpr int kMaxStepTokens = 1 << 14;

void use_cpu(const ModelOptions& options, LoadedModel* loaded) {
  loaded->threads = std::make_unique<ThreadPool>(
      options.threads > 0 ? options.threads : std::min(usable_processors(), kMaxThreads));
  loaded->backend = make_cpu_backend(loaded->threads.get());
}

absl::Status choose_device(const ModelOptions& options, LoadedModel* loaded) {
  CudaBackend cuda;
  if (options.device != Device::kCpu) cuda = load_cuda_backend();
  if (cuda.backend != nullptr) {
    loaded->backend = std::move(cuda.backend);
    return absl::OkStatus();
  }
  if (options.device == Device::kCuda) {
    return absl::FailedPreconditionError(absl::StrCat("--device cuda: ", cuda.reason));
  }
  loaded->why_cpu = std::move(cuda.reason);
  loaded->cuda_is_unusable = cuda.found;
  use_cpu(options, loaded);
  return absl::OkStatus();
}

// Falls back to the CPU if CUDA cannot run the model, unless --device cuda was given.
absl::Status put_on_device(const ModelOptions& options, ModelLimits limits, LoadedModel* loaded) {
  absl::Status status = choose_device(options, loaded);
  if (!status.ok()) return status;
  const auto load = [&]() -> absl::StatusOr<std::unique_ptr<Model>> {
    if (absl::Status chosen = choose_snapshots(options, loaded, &limits); !chosen.ok()) {
      return chosen;
    }
    TerminalProgress progress("loading " + options.folder, TerminalProgress::Unit::kBytes);
    return Model::load(loaded->folder, loaded->backend.get(), limits, options.weights,
                       [&](uint64_t done, uint64_t all) { progress.reach(done, all); });
  };
  absl::StatusOr<std::unique_ptr<Model>> model = load();
  if (absl::IsUnimplemented(model.status())) {
    const std::string refusal(model.status().message());
    if (options.device == Device::kCuda) {
      return absl::FailedPreconditionError(absl::StrCat("--device cuda: ", refusal));
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
                   "change what the model computes")
      ->allow_extra_args(false)
      ->type_name("KEY");
}

void add_model_source_options(CLI::App* command, ModelOptions* options) {
  command->option_defaults()->group("Model");
  add_model_argument(
      command, &options->folder, "DIR|NAME",
      "Folder with config.json, model.safetensors (or shards) and tokenizer.json or "
      "tokenizer.model; or owner/model[@revision] of the Hub, which is taken from its "
      "cache on this machine or fetched; or bundled, the small model that comes with deltaserve");
  add_offline_option(command, &options->offline);
  add_ignored_keys_option(command, &options->ignored_config_keys);
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "Use this tokenizer.json or sentencepiece model instead of the folder's")
      ->type_name("FILE");
}

void add_model_options(CLI::App* command, ModelOptions* options) {
  add_model_source_options(command, options);
  command->option_defaults()->group("Compute");
  add_choice<Device>(
      command, "--device", &options->device,
      "Compute device. auto uses cuda if there is a GPU and libdeltaserve_cuda.so is "
      "found (where DELTASERVE_CUDA_MODULE says, beside the program, in "
      "../lib/deltaserve from there, or on the library path), and otherwise cpu",
      {{"auto", Device::kAuto}, {"cpu", Device::kCpu}, {"cuda", Device::kCuda}});
  add_choice<WeightFormat>(command, "--weights", &options->weights,
                           "In-memory format of the weights. auto keeps the checkpoint's; int8 and "
                           "int4 are for the CPU (int4 keeps embeddings and output matrix in int8)",
                           {{"auto", WeightFormat::kAuto},
                            {"f32", WeightFormat::kF32},
                            {"bf16", WeightFormat::kBf16},
                            {"int8", WeightFormat::kInt8},
                            {"int4", WeightFormat::kInt4}});
  command
      ->add_option("--threads", options->threads,
                   "CPU threads that compute (default: one for each core that the process may use)")
      ->transform(whole_number_in(1, kMaxThreads))
      ->type_name("N");
  std::vector<std::pair<std::string, StateFormat>> state_formats;
  for (const StateFormat format : kAllStateFormats) {
    state_formats.emplace_back(state_format_name(format), format);
  }
  add_choice<StateFormat>(command, "--state-dtype", &options->state_format,
                          "Number format of the states. bf16 takes half the memory and costs "
                          "accuracy; models without a decay refuse it",
                          state_formats);
}

void add_step_tokens_option(CLI::App* command, ModelOptions* options) {
  command
      ->add_option("--step-tokens", options->step_tokens,
                   "Tokens that one step computes, of running answers and of prompts together")
      ->transform(whole_number_in(kMinStepTokens, kMaxStepTokens))
      ->type_name("TOKENS")
      ->capture_default_str();
}

void add_capacity_options(CLI::App* command, ModelOptions* options) {
  command->option_defaults()->group("Capacity");
  auto* sequences =
      command
          ->add_option("--max-sequences", options->max_sequences,
                       "Sequences that run at once; each has a state slot of fixed size")
          ->transform(whole_number_in(1, kMaxSequences))
          ->type_name("N")
          ->capture_default_str();
  command
      ->add_option("--state-memory", options->state_memory,
                   "Memory for state slots, instead of their number")
      ->transform(size_from(1))
      ->type_name("SIZE")
      ->excludes(sequences);
  add_step_tokens_option(command, options);
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
  // A step has room for a decode row of every sequence and for one piece of a prompt.
  limits.max_rows = std::max(limits.max_rows, limits.max_sequences + kChunkTokens);
  if (const absl::Status status = put_on_device(options, limits, &loaded); !status.ok()) {
    return status;
  }
  return loaded;
}

EngineOptions engine_options(const LoadedModel& loaded) {
  EngineOptions options;
  options.max_step_tokens = loaded.model->limits().max_rows;
  options.share_prefixes = loaded.share_prefixes;
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
