#include "server/commands/hub_options.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "models/base/text.h"
#include "server/base/suggestion.h"
#include "server/commands/bundled_model.h"
#include "server/commands/download_progress.h"

namespace deltaserve {
namespace {

// Refuses a path that cannot be the folder of a model, with a sentence that says what a MODEL is.
absl::Status check_folder(const std::string& text) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::file_type type = fs::status(text, ec).type();
  std::string wrong;
  if (type == fs::file_type::not_found) {
    wrong = str_cat("there is no folder ", quoted(text));
  } else if (type == fs::file_type::regular) {
    wrong = str_cat(quoted(text), " is a file");
  } else if (type == fs::file_type::directory && !fs::exists(fs::path(text) / "config.json", ec) &&
             !fs::exists(fs::path(text) / "params.json", ec) && !ec) {
    const bool hides = parse_hub_model(text).has_value();
    wrong = str_cat("the folder ", quoted(text), hides ? ", which hides a model of the Hub," : "",
                    " has no config.json");
  }
  if (wrong.empty()) return absl::OkStatus();  // what else may be wrong is found on reading it
  return absl::NotFoundError(str_cat(wrong,
                                     ": a MODEL is a folder with a config.json, owner/model of the "
                                     "Hugging Face Hub, or bundled",
                                     did_you_mean(text, {kBundledModel})));
}

}  // namespace

void add_offline_option(CLI::App* command, bool* offline) {
  command->add_flag(
      "--offline", *offline,
      "Download nothing: a model that is given by its name must be in the Hub's cache on "
      "this machine. HF_HUB_OFFLINE=1 does the same");
}

absl::StatusOr<HubSettings> hub_settings() {
  return read_hub_settings([](const char* name) { return std::getenv(name); });
}

absl::StatusOr<FoundModel> locate_model(const std::string& text, bool offline,
                                        const ModelFolderOptions& opening) {
  if (names_bundled_model(text)) {
    absl::StatusOr<std::string> folder = bundled_model_folder();
    if (!folder.ok()) return folder.status();
    return FoundModel{*std::move(folder), ""};
  }
  std::error_code ignored;
  if (!parse_hub_model(text) || std::filesystem::exists(text, ignored)) {
    if (absl::Status status = check_folder(text); !status.ok()) return status;
    return FoundModel{text, ""};
  }
  absl::StatusOr<HubSettings> settings = hub_settings();
  if (!settings.ok()) return settings.status();
  settings->offline = settings->offline || offline;
  DownloadProgress progress;
  const CheckModel check = [&](const std::string& folder) {
    return open_model_folder(folder, opening).status();
  };
  return find_model(text, *settings, check, &progress);
}

}  // namespace deltaserve
