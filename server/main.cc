// deltaserve: one binary, a subcommand for each task.
#include <cstdio>
#include <exception>
#include <optional>
#include <system_error>

#include "server/base/process.h"
#include "server/command_line/parse.h"
#include "server/commands/commands.h"

namespace {

// Some libraries open descriptors before main() begins, so that is too late.
__attribute__((section(".preinit_array"),
               used)) void (*const kBeforeLibraries)() = deltaserve::open_standard_files;

}  // namespace

int main(int argc, char** argv) {
  deltaserve::explain_bus_errors();
  CLI::App app("Inference server for linear-attention language models.", "deltaserve");
  app.require_subcommand(1);
  app.set_version_flag("-V,--version", DELTASERVE_VERSION);
  deltaserve::Run run;
  deltaserve::add_serve_command(&app, &run);
  deltaserve::add_chat_command(&app, &run);
  deltaserve::add_generate_command(&app, &run);
  deltaserve::add_inspect_command(&app, &run);
  deltaserve::add_pull_command(&app, &run);
  deltaserve::add_random_model_command(&app, &run);
  deltaserve::add_bench_command(&app, &run);
  deltaserve::add_bench_serve_command(&app, &run);
  deltaserve::add_manual_commands(&app, &run);
  if (const std::optional<int> code = deltaserve::parse_command_line(&app, argc, argv)) {
    return *code;
  }
  try {
    return run();
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "deltaserve: the system refuses a thread or a file: %s\n", error.what());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "deltaserve: %s\n", error.what());
    return 1;
  }
}
