// The subcommands of the binary. Each adds itself to the application; when it is chosen and its
// options are in order, it puts what is to be run into `run`, which returns the exit code.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>

namespace deltaserve {

using Run = std::function<int()>;

void add_serve_command(CLI::App* app, Run* run);
void add_generate_command(CLI::App* app, Run* run);
void add_inspect_command(CLI::App* app, Run* run);
void add_pull_command(CLI::App* app, Run* run);
void add_random_model_command(CLI::App* app, Run* run);
void add_bench_command(CLI::App* app, Run* run);
void add_bench_serve_command(CLI::App* app, Run* run);
void add_chat_command(CLI::App* app, Run* run);
// Adds `completion`, `man` and `options`, which describe the other commands.
void add_manual_commands(CLI::App* app, Run* run);

}  // namespace deltaserve
