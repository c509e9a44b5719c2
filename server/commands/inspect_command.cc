// deltaserve inspect: what a model folder holds and what it costs.
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "models/inspect.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"

namespace deltaserve {

namespace {

// Prints what `serve` would keep of prompts on this machine.
int print_snapshots(const ModelOptions& options) {
  const absl::StatusOr<ModelFolder> model =
      open_model_folder(options.folder, {.ignored_config_keys = options.ignored_config_keys});
  if (!model.ok()) return report(model.status());
  const absl::StatusOr<int> snapshots = default_snapshots(*model, ModelOptions());
  if (!snapshots.ok()) return report(snapshots.status());
  absl::PrintF(
      "\nsnapshots     %d by default on this machine's CPU (serve --prefix-cache-memory)\n",
      *snapshots);
  return 0;
}

}  // namespace

void add_inspect_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "inspect", "Describe a model folder: layers, tensors, bytes of weights and of a sequence");
  auto options = std::make_shared<ModelOptions>();
  command->add_option("DIR", options->folder, "Model folder")->required();
  add_ignored_keys_option(command, &options->ignored_config_keys);
  command->callback([run, options] {
    *run = [options] {
      const absl::StatusOr<std::string> text =
          describe_model(options->folder, options->ignored_config_keys);
      if (!text.ok()) return report(text.status());
      std::fputs(text->c_str(), stdout);
      return print_snapshots(*options);
    };
  });
}

}  // namespace deltaserve
