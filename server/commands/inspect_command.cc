// deltaserve inspect: what a model folder holds and what it costs.
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "models/inspect.h"
#include "server/command_line/parse.h"
#include "server/commands/commands.h"
#include "server/commands/hub_options.h"
#include "server/commands/model_options.h"
#include "server/commands/prefix_cache_options.h"

namespace deltaserve {

namespace {

// Prints what `serve` would keep of prompts on this machine.
int print_snapshots(const std::string& folder, const ModelFolderOptions& opening) {
  const absl::StatusOr<ModelFolder> model = open_model_folder(folder, opening);
  if (!model.ok()) return report(model.status());
  const absl::StatusOr<int> snapshots = default_snapshots(*model, ModelOptions());
  if (!snapshots.ok()) return report(snapshots.status());
  absl::PrintF(
      "\nsnapshots     %d by default on this machine's CPU (serve --prefix-cache-memory)\n",
      *snapshots);
  return 0;
}

int inspect(const ModelOptions& options) {
  const ModelFolderOptions opening{.ignored_config_keys = options.ignored_config_keys,
                                   .tokenizer_file = options.tokenizer};
  const absl::StatusOr<FoundModel> found = locate_model(options.folder, options.offline, opening);
  if (!found.ok()) return report(found.status());
  const absl::StatusOr<std::string> text = describe_model(found->folder, opening);
  if (!text.ok()) return report(text.status());
  std::fputs(text->c_str(), stdout);
  return print_snapshots(found->folder, opening);
}

}  // namespace

void add_inspect_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(
      app, "inspect", "Describe a model: layers, tensors, bytes of weights and of a sequence");
  auto options = std::make_shared<ModelOptions>();
  add_model_source_options(command, options.get());
  command->callback([command, run, options] {
    require_model(command, &options->folder);
    *run = [options] { return inspect(*options); };
  });
}

}  // namespace deltaserve
