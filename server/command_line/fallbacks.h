// Sets the options that the command line left open.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace deltaserve {

// Takes values from the environment, then from the file at `path` (TOML; empty: that of
// DELTASERVE_CONFIG, or none). Throws a CLI::ValidationError that names the variable or the file.
// An option stays unset if it excludes one that is set already.
void apply_fallbacks(CLI::App* command, const std::string& path);

// Returns a warning about a variable of the environment whose name is almost that of an option's;
// empty: there is none. `app` has all commands.
std::string misspelt_variable(CLI::App* app);

}  // namespace deltaserve
