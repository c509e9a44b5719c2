#include "server/command_line/table.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/command_line/values.h"

namespace deltaserve {
namespace {

// Returns the description of the option's validator of that name; empty: it has none.
std::string described(CLI::Option* option, const char* validator) {
  try {
    return option->get_validator(validator)->get_description();
  } catch (const CLI::OptionNotFound&) {
    return "";
  }
}

bool is_switch(const CLI::Option& option) {
  return option.get_expected_max() == 0;
}

boost::json::array list_of(const std::vector<std::string>& texts) {
  return boost::json::array(texts.begin(), texts.end());
}

boost::json::object json_of(const OptionEntry& option) {
  return {{"names", list_of(option.names)},
          {"value", option.value},
          {"description", option.description},
          {"group", option.group},
          {"default", option.default_value},
          {"least", option.least},
          {"most", option.most},
          {"choices", list_of(option.choices)},
          {"variable", option.variable},
          {"required", option.required},
          {"repeatable", option.repeatable}};
}

boost::json::array json_of(const std::vector<OptionEntry>& options) {
  boost::json::array array;
  for (const OptionEntry& option : options) array.push_back(json_of(option));
  return array;
}

}  // namespace

std::string variable_of(const CLI::Option& option) {
  if (option.get_lnames().empty() || !option.get_configurable()) return "";
  std::string name = absl::AsciiStrToUpper(option.get_lnames()[0]);
  return "DELTASERVE_" + absl::StrReplaceAll(name, {{"-", "_"}});
}

OptionEntry read_option(CLI::Option* option) {
  OptionEntry entry;
  for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
  for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
  if (entry.names.empty()) entry.names.push_back(option->get_name(true));
  // CLI11 puts the descriptions of the validators after the placeholder.
  if (!is_switch(*option)) {
    const std::string type = option->get_type_name();
    entry.value = type.substr(0, type.find(':'));
  }
  entry.description = option->get_description();
  entry.group = option->get_group();
  entry.default_value = option->get_default_str();
  const std::string range = described(option, kRangeName);
  if (!range.empty()) {
    const std::vector<std::string> ends = absl::StrSplit(range, " to ");
    entry.least = ends.front();
    entry.most = ends.back();
  }
  const std::string choices = described(option, kChoiceName);
  if (!choices.empty()) entry.choices = absl::StrSplit(choices, '|');
  entry.variable = variable_of(*option);
  entry.required = option->get_required();
  entry.repeatable = option->get_expected_max() > 1;
  return entry;
}

CommandEntry read_command(CLI::App* command) {
  CommandEntry entry;
  entry.name = command->get_name();
  entry.description = command->get_description();
  entry.details = command->get_footer();
  for (CLI::Option* option : command->get_options()) {
    (option->get_positional() ? entry.arguments : entry.options).push_back(read_option(option));
  }
  for (OptionEntry& argument : entry.arguments) argument.group = "Arguments";
  return entry;
}

std::vector<CommandEntry> read_table(CLI::App* app) {
  std::vector<CommandEntry> table;
  for (CLI::App* command : app->get_subcommands(nullptr)) table.push_back(read_command(command));
  return table;
}

std::string table_json(const std::vector<CommandEntry>& table) {
  boost::json::array commands;
  for (const CommandEntry& command : table) {
    commands.push_back(boost::json::object{{"name", command.name},
                                           {"description", command.description},
                                           {"arguments", json_of(command.arguments)},
                                           {"options", json_of(command.options)}});
  }
  return boost::json::serialize(commands);
}

}  // namespace deltaserve
