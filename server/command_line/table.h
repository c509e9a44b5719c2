// The commands and their options as plain data, for the help, the man page, the completions and the
// tests.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace deltaserve {

// An option, or an argument, which has a position instead of names.
struct OptionEntry {
  std::vector<std::string> names;  // with their dashes; an argument has its placeholder alone
  std::string value;               // the placeholder of the value; empty: a switch
  std::string description;
  std::string group;
  std::string default_value;         // as it would be written; empty: none, or described in words
  std::string least, most;           // of a number or a size; empty: any value
  std::vector<std::string> choices;  // all values that it takes; empty: others too
  std::string variable;              // of the environment; empty: an argument, or --help
  bool required = false;
  bool repeatable = false;
};

struct CommandEntry {
  std::string name;
  std::string description;
  std::string details;  // paragraphs between empty lines; may be empty
  std::vector<OptionEntry> arguments;
  std::vector<OptionEntry> options;
};

// Returns "DELTASERVE_HTTP_PORT" for "--http-port".
std::string variable_of(const CLI::Option& option);

OptionEntry read_option(CLI::Option* option);

CommandEntry read_command(CLI::App* command);

// Returns the commands in the order in which they were added.
std::vector<CommandEntry> read_table(CLI::App* app);

// Returns the table as JSON.
std::string table_json(const std::vector<CommandEntry>& table);

}  // namespace deltaserve
