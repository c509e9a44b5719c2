#include "server/commands/hub_options.h"

#include <cstdlib>

#include "server/commands/bundled_model.h"
#include "server/commands/download_progress.h"

namespace deltaserve {

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
  if (!parse_hub_model(text)) return FoundModel{text, ""};
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
