// deltaserve inspect: what a model folder holds and what it costs.
#include <cstdio>
#include <memory>
#include <string>

#include "models/inspect.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"

namespace deltaserve {

void add_inspect_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "inspect", "Describe a model folder: layers, tensors, bytes of weights and of a sequence");
  auto folder = std::make_shared<std::string>();
  command->add_option("DIR", *folder, "Model folder")->required();
  command->callback([run, folder] {
    *run = [folder] {
      const absl::StatusOr<std::string> text = describe_model(*folder);
      if (!text.ok()) return report(text.status());
      std::fputs(text->c_str(), stdout);
      return 0;
    };
  });
}

}  // namespace deltaserve
