#include "server/command_line/fallbacks.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/suggestion.h"
#include "server/command_line/table.h"

namespace deltaserve {
namespace {

constexpr const char* kFileVariable = "DELTASERVE_CONFIG";
constexpr std::streamoff kMaxFileBytes = 1 << 20;

using Options = std::set<const CLI::Option*>;

// Returns true if the option has a value that takes the place of others. A switch that is off takes
// none.
bool is_set(const CLI::Option& option) {
  const bool is_switch = option.get_expected_max() == 0;
  return option.count() > 0 && !(is_switch && !option.as<bool>());
}

// Returns true if a source that comes before has set neither the option nor one that excludes it.
// Throws if this source, which has set the options `here`, contradicts itself.
bool is_open(const CLI::Option& option, const Options& here, const std::string& source) {
  if (option.count() > 0) return false;
  for (const CLI::Option* other : option.get_excludes()) {
    if (!is_set(*other)) continue;
    if (!here.contains(other)) return false;
    throw CLI::ValidationError(
        source,
        absl::StrCat(option.get_name(), " cannot be used together with ", other->get_name()));
  }
  return true;
}

bool is_truth(const std::string& value) {
  static const std::set<std::string> kTruths = {"true", "false", "on", "off",
                                                "yes",  "no",    "1",  "0"};
  return kTruths.contains(value);
}

// Gives values to an option, and names `source` if the option refuses them.
void set(CLI::Option* option, const std::vector<std::string>& values, const std::string& source) {
  try {
    const bool is_switch = option->get_expected_max() == 0;
    for (const std::string& value : values) {
      if (is_switch && !is_truth(value)) {
        throw CLI::ValidationError(option->get_name(), "'" + value + "' is not true or false");
      }
      option->add_result(value);
    }
    option->run_callback();
  } catch (const CLI::ParseError& error) {
    throw CLI::ValidationError(source, error.what());
  }
}

void apply_environment(CLI::App* command) {
  Options here;
  for (CLI::Option* option : command->get_options()) {
    const std::string name = variable_of(*option);
    const char* value = name.empty() ? nullptr : std::getenv(name.c_str());
    if (value == nullptr || *value == '\0' || !is_open(*option, here, name)) continue;
    set(option, {value}, name);
    here.insert(option);
  }
}

std::vector<CLI::ConfigItem> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const int why = errno;
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) {
    throw CLI::ValidationError(
        "--config",
        absl::StrCat("'", path, "' cannot be read: ", std::generic_category().message(why)));
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored) || size > kMaxFileBytes) {
    throw CLI::ValidationError("--config",
                               absl::StrCat("'", path, "' is not a file of at most 1 MiB"));
  }
  file.seekg(0);
  try {
    return CLI::ConfigTOML().from_config(file);
  } catch (const CLI::Error& error) {
    throw CLI::ValidationError("--config", absl::StrCat("'", path, "': ", error.what()));
  }
}

std::vector<std::string> keys_of(CLI::App* command) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : command->get_options()) {
    if (variable_of(*option).empty()) continue;
    for (const std::string& name : option->get_lnames()) keys.push_back(name);
  }
  return keys;
}

// Returns the option that the key of a file names. Throws if there is none.
CLI::Option* find_option(CLI::App* command, const std::string& key, const std::string& path) {
  const std::vector<std::string> keys = keys_of(command);
  if (std::find(keys.begin(), keys.end(), key) == keys.end() || key == "config") {
    throw CLI::ValidationError(
        "--config", absl::StrCat("'", path, "' has the key '", key, "', which is no option of '",
                                 command->get_name(), "'", did_you_mean(key, keys)));
  }
  return command->get_option("--" + key);
}

// Returns null if there is no such command.
CLI::App* find_command(CLI::App* app, const std::string& name) {
  for (CLI::App* command : app->get_subcommands(nullptr)) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

// Keys at the top belong to the command that runs; keys of a section [serve] belong to that command
// only.
void apply_file(CLI::App* command, const std::string& path) {
  Options here;
  for (const CLI::ConfigItem& item : read_file(path)) {
    if (item.name == "++" || item.name == "--") continue;  // a section begins or ends
    CLI::App* owner = command;
    if (!item.parents.empty()) {
      owner = find_command(command->get_parent(), item.parents[0]);
      if (owner == nullptr || item.parents.size() > 1) {
        throw CLI::ValidationError("--config", absl::StrCat("'", path, "' has the section '",
                                                            CLI::detail::join(item.parents, "."),
                                                            "', which is no command"));
      }
    }
    CLI::Option* option = find_option(owner, item.name, path);
    if (owner != command || !is_open(*option, here, path)) continue;
    set(option, item.inputs, path);
    here.insert(option);
  }
}

// A switch that is off excludes nothing, but CLI11 looks only at whether an option was given. So
// such a switch of the environment or of the file counts as not given from here on; its callback
// has run.
void forget_switches_that_are_off(CLI::App* command) {
  const std::vector<CLI::Option*>& typed = command->parse_order();
  for (CLI::Option* option : command->get_options()) {
    const bool is_typed = std::find(typed.begin(), typed.end(), option) != typed.end();
    if (!is_typed && option->count() > 0 && !is_set(*option)) option->clear();
  }
}

}  // namespace

void apply_fallbacks(CLI::App* command, const std::string& path) {
  if (command->get_help_ptr()->count() > 0) return;
  apply_environment(command);
  const char* variable = std::getenv(kFileVariable);
  const std::string file = path.empty() && variable != nullptr ? variable : path;
  if (!file.empty()) apply_file(command, file);
  forget_switches_that_are_off(command);
}

std::string misspelt_variable(CLI::App* app) {
  const std::string prefix = "DELTASERVE_";
  std::vector<std::string> known = {"CUDA_MODULE", "CUDA_WITHOUT"};  // without the prefix
  for (const CommandEntry& command : read_table(app)) {
    for (const OptionEntry& option : command.options) {
      if (!option.variable.empty()) known.push_back(option.variable.substr(prefix.size()));
    }
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text(*variable);
    if (!text.starts_with(prefix)) continue;
    const std::string name = text.substr(0, text.find('=')).substr(prefix.size());
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    // Kubernetes sets DELTASERVE_PORT and others for a service named deltaserve; those are not near
    // any option.
    const std::string hint = did_you_mean(name, known);
    if (name.size() < 5 || hint.empty()) continue;
    return absl::StrCat("the variable ", prefix, name, " belongs to no option", hint,
                        " (after DELTASERVE_)");
  }
  return "";
}

}  // namespace deltaserve
