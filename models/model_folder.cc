#include <algorithm>

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

// Reads config.json or, of a folder in Mistral's layout, params.json.
absl::Status read_config(std::span<const std::string> ignored_keys, ModelFolder* folder) {
  std::string path = str_cat(folder->path, "/config.json");
  absl::StatusOr<std::string> text = read_file(path, limits::kConfigBytes);
  if (absl::IsNotFound(text.status())) {
    const std::string other = str_cat(folder->path, "/params.json");
    absl::StatusOr<std::string> params = read_file(other, limits::kConfigBytes);
    if (!absl::IsNotFound(params.status())) {
      path = other;
      text = std::move(params);
    }
  }
  if (!text.ok()) return text.status();
  absl::StatusOr<ModelConfig> config = parse_model_config(*text, path, ignored_keys);
  if (!config.ok()) return config.status();
  folder->config = *std::move(config);
  return absl::OkStatus();
}

absl::Status read_settings(ModelFolder* folder) {
  TokenizerFiles files;
  const std::pair<const char*, std::string*> names[] = {
      {"tokenizer_config.json", &files.tokenizer_config},
      {"special_tokens_map.json", &files.special_tokens_map},
      {"added_tokens.json", &files.added_tokens},
      {"chat_template.jinja", &files.chat_template},
      {"additional_chat_templates/tool_use.jinja", &files.tool_chat_template}};
  for (const auto& [name, text] : names) {
    absl::StatusOr<std::string> contents =
        read_optional_file(str_cat(folder->path, "/", name), limits::kTokenizerConfigBytes);
    if (!contents.ok()) return contents.status();
    *text = *std::move(contents);
  }
  absl::StatusOr<TokenizerSettings> settings = parse_tokenizer_settings(files);
  if (!settings.ok()) return prefixed(folder->path, settings.status());
  folder->settings = *std::move(settings);
  return absl::OkStatus();
}

// Drops added tokens for which the model has no row. Such a token (mostly a padding token) cannot
// be used.
void drop_tokens_without_row(ModelFolder* folder) {
  std::vector<AddedToken>& tokens = folder->settings.added_tokens;
  const auto outside = [&](const AddedToken& token) {
    if (token.id < folder->config.vocab_size) return false;
    folder->config.warnings.push_back(str_cat("the added token ", quoted(token.text),
                                              " has the id ", token.id,
                                              ", which is outside the model's vocab_size ",
                                              folder->config.vocab_size, ", and is left out"));
    return true;
  };
  tokens.erase(std::remove_if(tokens.begin(), tokens.end(), outside), tokens.end());
}

absl::Status read_tokenizer(const std::string& file, ModelFolder* folder) {
  drop_tokens_without_row(folder);
  folder->settings.most_ids = folder->config.vocab_size;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      open_folder_tokenizer(folder->path, file, folder->settings, &folder->config.warnings);
  if (!tokenizer.ok()) {
    return file.empty() ? tokenizer.status() : prefixed("--tokenizer", tokenizer.status());
  }
  if (*tokenizer == nullptr) return absl::OkStatus();
  if ((*tokenizer)->size() > folder->config.vocab_size) {
    return invalid_argument(file.empty() ? folder->path : file, ": the tokenizer has ",
                            (*tokenizer)->size(), " pieces, more than the model's vocab_size ",
                            folder->config.vocab_size);
  }
  folder->tokenizer = *std::move(tokenizer);
  return absl::OkStatus();
}

// Returns the id of a named token; -1 if the tokenizer has none that the model knows.
int32_t id_of(const ModelFolder& folder, const char* name) {
  const std::string text = folder.settings.named(name);
  if (folder.tokenizer == nullptr || text.empty()) return -1;
  const int32_t id = folder.tokenizer->piece_id(text);
  return id < folder.config.vocab_size ? id : -1;
}

// The tokenizer's own BOS is used; the config's id only if the tokenizer has none.
void merge_bos(ModelFolder* folder) {
  ModelConfig& config = folder->config;
  const int32_t id = id_of(*folder, "bos_token");
  if (id >= 0) {
    if (config.bos_is_said && config.bos_token_id >= 0 && config.bos_token_id != id) {
      config.warnings.push_back(str_cat(
          "the config's bos_token_id is ", config.bos_token_id, ", but the tokenizer's bos_token ",
          quoted(folder->settings.named("bos_token")), " has the id ", id, ", which is used"));
    }
    config.bos_token_id = id;
  }
  if (folder->settings.add_bos_token && config.bos_token_id < 0) {
    config.warnings.push_back("add_bos_token is set, but the config has no bos_token_id");
    folder->settings.add_bos_token = false;
  }
}

// Every token ends an answer that config.json, generation_config.json or the tokenizer calls an
// end.
absl::Status merge_eos(ModelFolder* folder) {
  ModelConfig& config = folder->config;
  const absl::StatusOr<std::string> text =
      read_optional_file(str_cat(folder->path, "/generation_config.json"), limits::kConfigBytes);
  if (!text.ok()) return text.status();
  std::vector<int32_t> more;
  if (!text->empty()) {
    absl::StatusOr<std::vector<int32_t>> ids = parse_generation_eos(*text);
    if (!ids.ok()) return prefixed(folder->path, ids.status());
    more = *std::move(ids);
  }
  for (const int32_t id : more) {
    if (id < config.vocab_size) continue;
    return invalid_argument(folder->path, "/generation_config.json: ", "eos_token_id ", id,
                            " is outside the model's vocab_size ", config.vocab_size);
  }
  const int32_t own = id_of(*folder, "eos_token");
  if (own >= 0) more.push_back(own);
  std::vector<int32_t>& ids = config.eos_token_ids;
  if (!config.eos_is_said && !more.empty()) ids.clear();
  const bool is_said = std::find(ids.begin(), ids.end(), own) != ids.end();
  if (own >= 0 && config.eos_is_said && !ids.empty() && !is_said) {
    config.warnings.push_back(str_cat(
        "the config's eos_token_id does not list ", own, ", the id of the tokenizer's eos_token ",
        quoted(folder->settings.named("eos_token")), ": answers end at each of them"));
  }
  for (const int32_t id : more) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  if (ids.size() <= limits::kEosTokens) return absl::OkStatus();
  return invalid_argument(folder->path, " has ", ids.size(), " end tokens, more than the ",
                          limits::kEosTokens, " allowed");
}

}  // namespace

absl::StatusOr<ModelFolder> open_model_folder(const std::string& path,
                                              const ModelFolderOptions& options) {
  ModelFolder folder;
  folder.path = path;
  folder.tokenizer_file = options.tokenizer_file;
  absl::Status status = read_config(options.ignored_config_keys, &folder);
  if (status.ok()) status = read_settings(&folder);
  if (status.ok()) status = read_tokenizer(options.tokenizer_file, &folder);
  if (status.ok()) merge_bos(&folder);
  if (status.ok()) status = merge_eos(&folder);
  if (!status.ok()) return status;
  return folder;
}

}  // namespace deltaserve
