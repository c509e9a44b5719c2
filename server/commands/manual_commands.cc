// deltaserve help, completion, man and options: the table of all commands as texts, as scripts for
// shells, as a manual page and as JSON.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "server/command_line/completions.h"
#include "server/command_line/help.h"
#include "server/command_line/man_page.h"
#include "server/command_line/table.h"
#include "server/command_line/values.h"
#include "server/commands/commands.h"

namespace deltaserve {
namespace {

enum class Shell : uint8_t { kBash, kZsh, kFish };

std::string completion_of(Shell shell, const std::vector<CommandEntry>& table) {
  switch (shell) {
    case Shell::kBash: return bash_completion(table);
    case Shell::kZsh: return zsh_completion(table);
    case Shell::kFish: break;
  }
  return fish_completion(table);
}

int print(const std::string& text) {
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return written ? 0 : 1;
}

// Adds the command `help serve`, which prints the same as `serve --help`.
void add_help_command(CLI::App* app, Run* run) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const CLI::App* command : app->get_subcommands(nullptr)) {
    names.emplace_back(command->get_name(), command->get_name());
  }
  CLI::App* help = app->add_subcommand("help", "Print all commands, or the options of one");
  auto name = std::make_shared<std::string>();
  help->add_option("COMMAND", *name, "Command whose options are printed")
      ->transform(one_of(names))
      ->type_name("COMMAND");
  help->callback([app, run, name] {
    *run = [app, name] {
      const int width = help_width(stdout);
      return print(name->empty() ? overview_text(app, width)
                                 : help_text(read_command(app->get_subcommand(*name)), width));
    };
  });
}

}  // namespace

void add_manual_commands(CLI::App* app, Run* run) {
  CLI::App* completion =
      app->add_subcommand("completion", "Print a script that lets a shell complete commands");
  completion->footer(
      "bash: deltaserve completion bash > ~/.local/share/bash-completion/completions/deltaserve"
      "\n\nzsh: deltaserve completion zsh > FOLDER/_deltaserve, with a folder of $fpath"
      "\n\nfish: deltaserve completion fish > ~/.config/fish/completions/deltaserve.fish");
  auto shell = std::make_shared<Shell>(Shell::kBash);
  add_choice<Shell>(completion, "SHELL", shell.get(), "Shell for which the script is printed",
                    {{"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}})
      ->required()
      ->default_str("");
  completion->callback([app, run, shell] {
    *run = [app, shell] { return print(completion_of(*shell, read_table(app))); };
  });
  app->add_subcommand("man", "Print the manual page, for man -l -")->callback([app, run] {
    *run = [app] { return print(man_page(read_table(app), DELTASERVE_VERSION)); };
  });
  app->add_subcommand("options", "Print all commands and options as JSON")->callback([app, run] {
    *run = [app] { return print(table_json(read_table(app)) + "\n"); };
  });
  add_help_command(app, run);
}

}  // namespace deltaserve
