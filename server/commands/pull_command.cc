// deltaserve pull: fetches a model of the Hub.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "server/command_line/parse.h"
#include "server/commands/bundled_model.h"
#include "server/commands/commands.h"
#include "server/commands/download_progress.h"
#include "server/commands/hub_options.h"
#include "server/commands/model_options.h"

namespace deltaserve {
namespace {

struct PullOptions {
  std::string name;
  std::vector<std::string> ignored_config_keys;
};

int pull(const PullOptions& options) {
  if (names_bundled_model(options.name)) {
    return report(invalid_argument("'bundled' comes with deltaserve and needs no download"));
  }
  const std::optional<HubModel> model = parse_hub_model(options.name);
  if (!model) {
    return report(
        invalid_argument(quoted(options.name), " is not owner/model or owner/model@revision"));
  }
  const absl::StatusOr<HubSettings> settings = hub_settings();
  if (!settings.ok()) return report(settings.status());
  DownloadProgress progress;
  const CheckModel check = [&](const std::string& folder) {
    return open_model_folder(folder, {.ignored_config_keys = options.ignored_config_keys}).status();
  };
  const absl::StatusOr<std::string> folder = pull_model(*model, *settings, check, &progress);
  if (!folder.ok()) return report(folder.status());
  absl::PrintF("%s\n", *folder);
  return 0;
}

}  // namespace

void add_pull_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(
      app, "pull", "Download a model from the Hub, or its changed files, and print its folder");
  command->footer(
      "HF_ENDPOINT, HF_HUB_CACHE, HF_HOME and HF_TOKEN have the same meaning as for the Hub's own "
      "tools, which find the folder too. An interrupted download continues where it stopped.");
  auto options = std::make_shared<PullOptions>();
  add_model_argument(command, &options->name, "NAME", "owner/model or owner/model@revision");
  add_ignored_keys_option(command, &options->ignored_config_keys);
  command->callback([command, run, options] {
    require_model(command, &options->name, "owner/model");
    *run = [options] { return pull(*options); };
  });
}

}  // namespace deltaserve
