// Reads a command line. Options that it does not set come from the environment, then from the file
// that --config names, then from the defaults.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>

namespace deltaserve {

// Adds a command that can be set by the environment and by --config FILE.
CLI::App* add_command(CLI::App* app, const std::string& name, const std::string& description);

// Adds the positional MODEL beside --model. `placeholder` says what both take.
void add_model_argument(CLI::App* command, std::string* model, const std::string& placeholder,
                        const std::string& description);

// Returns whether the model was given. Throws a CLI::ValidationError if MODEL and --model differ.
// It is for the callback of a command with add_model_argument(); MODEL wins over a variable of the
// environment and over the file.
bool settle_model(CLI::App* command, std::string* model);
// Does the same, and throws with the `example` of a model if none was given.
void require_model(CLI::App* command, std::string* model, const std::string& example = "bundled");

// Parses the command line and calls the callback of its command. Returns the exit code if nothing
// is left to do, because help or the version was printed or the command line is wrong.
std::optional<int> parse_command_line(CLI::App* app, int argc, char** argv);

}  // namespace deltaserve
