#include "models/hub/hub.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <vector>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/checkpoint/safetensors.h"
#include "models/hub/http_client.h"
#include "models/hub/hub_cache.h"
#include "models/hub/hub_download.h"
#include "models/hub/hub_listing.h"

namespace deltaserve {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json";

// The files that are read from a folder, without the weights.
constexpr std::string_view kSmallFiles[] = {"config.json",
                                            "params.json",
                                            "generation_config.json",
                                            "tokenizer.json",
                                            "tokenizer.model",
                                            "tokenizer_config.json",
                                            "special_tokens_map.json",
                                            "added_tokens.json",
                                            "chat_template.jinja",
                                            "additional_chat_templates/tool_use.jinja"};

// Tokenizers of other kinds. They are downloaded if there is no other one, so that the refusal
// names them.
constexpr std::string_view kOtherTokenizers[] = {"tekken.json", "vocab.json", "merges.txt",
                                                 "tokenizer.model.v", "rwkv_vocab_"};

// Downloads a model, file by file.
class Pull {
 public:
  Pull(const HubModel& model, const HubSettings& settings, HubProgress* progress)
      : model_(model),
        settings_(settings),
        progress_(progress),
        cache_(settings.cache, model.name),
        client_(settings) {}

  absl::StatusOr<std::string> run(const CheckModel& check) {
    absl::StatusOr<HubListing> listing = list_hub_files(&client_, settings_, model_);
    if (!listing.ok()) return listing.status();
    listing_ = *std::move(listing);
    const std::string folder = cache_.snapshot(listing_.commit);
    absl::Status status = fetch(small_files(), limits::kIndexBytes);
    absl::StatusOr<std::vector<std::string>> weights = std::vector<std::string>();
    if (status.ok()) {
      weights = weight_files(folder);
      status = weights.status();
    }
    if (status.ok()) status = check(folder);
    if (status.ok()) status = fetch(*weights, limits::kHubFileBytes.max);
    if (status.ok()) status = cache_.note(model_.revision, listing_.commit);
    if (!status.ok()) return status;
    return folder;
  }

 private:
  std::vector<std::string> small_files() const {
    std::vector<std::string> paths;
    for (const std::string_view path : kSmallFiles) {
      if (listing_.find(path) != nullptr) paths.emplace_back(path);
    }
    if (listing_.find("model.safetensors") == nullptr && listing_.find(kIndex) != nullptr) {
      paths.emplace_back(kIndex);
    }
    if (listing_.find("tokenizer.json") != nullptr || listing_.find("tokenizer.model") != nullptr) {
      return paths;
    }
    for (const HubFile& file : listing_.files) {
      for (const std::string_view kind : kOtherTokenizers) {
        if (file.path.starts_with(kind)) paths.push_back(file.path);
      }
    }
    return paths;
  }

  // Returns the files of the weights, in the order in which a folder is searched for them.
  absl::StatusOr<std::vector<std::string>> weight_files(const std::string& folder) const {
    if (listing_.find("config.json") == nullptr && listing_.find("params.json") == nullptr) {
      return absl::NotFoundError(str_cat(model_.text(), " has no config.json"));
    }
    if (listing_.find("model.safetensors") != nullptr) {
      return std::vector<std::string>{"model.safetensors"};
    }
    if (listing_.find(kIndex) != nullptr) return shards(folder);
    if (listing_.find("consolidated.safetensors") != nullptr) {
      return std::vector<std::string>{"consolidated.safetensors"};
    }
    for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (listing_.find(name) != nullptr) return invalid_argument(kConvertTorchWeights);
    }
    return absl::NotFoundError(str_cat(model_.text(), " has no model.safetensors"));
  }

  absl::StatusOr<std::vector<std::string>> shards(const std::string& folder) const {
    const absl::StatusOr<std::string> index =
        read_file(str_cat(folder, "/", kIndex), limits::kIndexBytes);
    if (!index.ok()) return index.status();
    const absl::StatusOr<std::set<std::string>> names = parse_shard_names(*index);
    if (!names.ok()) return prefixed(kIndex, names.status());
    for (const std::string& name : *names) {
      if (listing_.find(name) != nullptr) continue;
      return absl::NotFoundError(
          str_cat(model_.text(), " has no ", quoted(name), ", which its ", kIndex, " names"));
    }
    return std::vector<std::string>(names->begin(), names->end());
  }

  // Downloads the files into the snapshot. None of them may have more than `most_bytes`.
  absl::Status fetch(const std::vector<std::string>& paths, uint64_t most_bytes) {
    std::vector<HubFile> files;
    uint64_t bytes = 0;
    for (const std::string& path : paths) {
      HubFile file = *listing_.find(path);
      absl::Status status = complete_hub_file(&client_, settings_, model_, listing_.commit, &file);
      if (!status.ok()) return status;
      if (file.size > most_bytes) {
        return invalid_argument(path, " of ", model_.text(), " has ", file.size,
                                " bytes, more than the ", most_bytes, " allowed");
      }
      if (!cache_.has_blob(file)) bytes += file.size;
      files.push_back(std::move(file));
    }
    absl::Status status = cache_.prepare(bytes);
    for (const HubFile& file : files) {
      if (!status.ok()) return status;
      status = fetch(file);
    }
    return status;
  }

  absl::Status fetch(const HubFile& file) {
    const auto refused = [this](const HttpAnswer& answer) {
      return hub_refusal(answer, settings_, model_);
    };
    const std::string url = hub_file_url(settings_, model_, listing_.commit, file.path);
    absl::Status status = download_blob(&client_, url, file, cache_, refused, progress_);
    if (!status.ok()) return status;
    return cache_.link(listing_.commit, file);
  }

  const HubModel& model_;
  const HubSettings& settings_;
  HubProgress* const progress_;
  const HubCache cache_;
  HubHttpClient client_;
  HubListing listing_;
};

absl::Status needs_cache() {
  return absl::FailedPreconditionError(
      "there is no folder for downloads: set HF_HOME, HF_HUB_CACHE or HOME");
}

// Returns the error for a model that is not in the cache and must not be downloaded.
absl::Status not_cached(const HubModel& model, const HubSettings& settings,
                        const std::string& missing) {
  return absl::NotFoundError(
      str_cat("there is no folder ", model.text(), ", the cache ", settings.cache,
              missing.empty() ? " does not have the model"
                              : str_cat(" has the model without its ", missing),
              ", and --offline or HF_HUB_OFFLINE=1 forbids downloading it"));
}

}  // namespace

absl::StatusOr<std::string> pull_model(const HubModel& model, const HubSettings& settings,
                                       const CheckModel& check, HubProgress* progress) {
  if (settings.cache.empty()) return needs_cache();
  if (settings.offline) {
    return absl::FailedPreconditionError(
        str_cat("HF_HUB_OFFLINE=1 forbids downloading ", model.text()));
  }
  return Pull(model, settings, progress).run(check);
}

absl::StatusOr<FoundModel> find_model(const std::string& text, const HubSettings& settings,
                                      const CheckModel& check, HubProgress* progress) {
  const std::optional<HubModel> model = parse_hub_model(text);
  if (!model || ::access(text.c_str(), F_OK) == 0) return FoundModel{text, ""};
  if (settings.cache.empty()) return needs_cache();
  const HubCache cache(settings.cache, model->name);
  const std::string commit = cache.commit_of(model->revision);
  const std::string folder = commit.empty() ? "" : cache.snapshot(commit);
  const bool is_cached = !folder.empty() && ::access(folder.c_str(), F_OK) == 0;
  const std::string missing = is_cached ? missing_from_snapshot(folder) : "";
  const bool is_complete = is_cached && missing.empty();
  // Another program may have downloaded only the weights. Then only the Hub knows whether there is
  // a tokenizer.
  if (is_complete && (settings.offline || has_tokenizer(folder))) {
    return FoundModel{folder, model->name};
  }
  if (settings.offline) return not_cached(*model, settings, missing);
  const absl::StatusOr<std::string> pulled = pull_model(*model, settings, check, progress);
  if (pulled.ok()) return FoundModel{*pulled, model->name};
  if (is_complete && absl::IsUnavailable(pulled.status())) {
    progress->say(str_cat("the cache has no tokenizer of ", model->text(), ", and ",
                          pulled.status().message()));
    return FoundModel{folder, model->name};
  }
  if (!absl::IsUnavailable(pulled.status()) && !absl::IsNotFound(pulled.status())) {
    return pulled.status();
  }
  return absl::Status(pulled.status().code(), str_cat("there is no folder ", quoted(text), ", and ",
                                                      pulled.status().message()));
}

}  // namespace deltaserve
