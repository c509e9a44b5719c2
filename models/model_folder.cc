#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/model.h"
#include "models/tokenizer/folder_tokenizer.h"

namespace deltaserve {
namespace {

// Returns the contents of a file; empty if the file is absent.
absl::StatusOr<std::string> read_optional_file(const std::string& path, size_t max_bytes) {
  absl::StatusOr<std::string> contents = read_file(path, max_bytes);
  if (absl::IsNotFound(contents.status())) return std::string();
  return contents;
}

absl::Status read_defaults(ModelFolder* folder) {
  const auto generation =
      read_optional_file(str_cat(folder->path, "/generation_config.json"), limits::kConfigBytes);
  if (!generation.ok()) return generation.status();
  const auto tokenizer = read_optional_file(str_cat(folder->path, "/tokenizer_config.json"),
                                            limits::kTokenizerConfigBytes);
  if (!tokenizer.ok()) return tokenizer.status();
  absl::StatusOr<GenerationDefaults> defaults = parse_generation_defaults(*generation, *tokenizer);
  if (!defaults.ok()) {
    return prefixed(folder->path, defaults.status());
  }
  folder->defaults = *std::move(defaults);
  return absl::OkStatus();
}

absl::Status read_tokenizer(const std::string& file, ModelFolder* folder) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_folder_tokenizer(
      folder->path, file, folder->defaults.special_tokens, &folder->config.warnings);
  if (!tokenizer.ok()) return tokenizer.status();
  if (*tokenizer == nullptr) return absl::OkStatus();
  if ((*tokenizer)->size() > folder->config.vocab_size) {
    return invalid_argument(file.empty() ? folder->path : file, ": the tokenizer has ",
                            (*tokenizer)->size(), " pieces, more than the model's vocab_size ",
                            folder->config.vocab_size);
  }
  folder->tokenizer = *std::move(tokenizer);
  return absl::OkStatus();
}

// Combines the settings of all files.
absl::Status merge_defaults(ModelFolder* folder) {
  ModelConfig& config = folder->config;
  for (const int32_t id : folder->defaults.eos_token_ids) {
    if (id < config.vocab_size) continue;
    return invalid_argument(folder->path, "/generation_config.json: ", "eos_token_id ", id,
                            " is outside the model's vocab_size ", config.vocab_size);
  }
  if (!folder->defaults.eos_token_ids.empty()) {
    config.eos_token_ids = folder->defaults.eos_token_ids;
  }
  if (folder->defaults.add_bos_token && config.bos_token_id < 0) {
    config.warnings.push_back("add_bos_token is set, but the config has no bos_token_id");
    folder->defaults.add_bos_token = false;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelFolder> open_model_folder(const std::string& path,
                                              const std::string& tokenizer_file) {
  const std::string config_path = str_cat(path, "/config.json");
  const absl::StatusOr<std::string> text = read_file(config_path, limits::kConfigBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<ModelConfig> config = parse_model_config(*text, config_path);
  if (!config.ok()) return config.status();
  ModelFolder folder;
  folder.path = path;
  folder.config = *std::move(config);
  absl::Status status = read_defaults(&folder);
  if (status.ok()) status = read_tokenizer(tokenizer_file, &folder);
  if (status.ok()) status = merge_defaults(&folder);
  if (!status.ok()) return status;
  return folder;
}

}  // namespace deltaserve
