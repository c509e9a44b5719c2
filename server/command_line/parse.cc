#include "server/command_line/parse.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/base/suggestion.h"
#include "server/command_line/fallbacks.h"
#include "server/command_line/help.h"
#include "server/command_line/table.h"

namespace deltaserve {
namespace {

constexpr int kUsageError = 2;
constexpr const char* kModelArgument = "MODEL";
constexpr const char* kModelFlag = "--model";

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

std::vector<std::string> names_of_options(CLI::App* command) {
  std::vector<std::string> names;
  for (CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// Returns the error for a word before the command, or in its place.
std::string unexpected_before(CLI::App* app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> names = names_of_options(app);
  if (is_option(word)) {
    for (CLI::App* command : app->get_subcommands(nullptr)) {
      if (command->get_option_no_throw(name) == nullptr) continue;
      return absl::StrCat("'", name, "': options follow a command, as in 'deltaserve ",
                          command->get_name(), " ", name, "'");
    }
    return absl::StrCat("unknown option '", name, "'", did_you_mean(name, names));
  }
  for (CLI::App* command : app->get_subcommands(nullptr)) names.push_back(command->get_name());
  return absl::StrCat("unknown command '", word, "'", did_you_mean(word, names));
}

// Names everything that a command needs and did not get. CLI11 names one thing at a time.
// Empty: nothing is missing.
std::string missing_options(const CLI::App* command) {
  std::vector<std::string> names;
  const CLI::Option* model = command->get_option_no_throw(kModelArgument);
  if (model != nullptr && model->count() + command->get_option(kModelFlag)->count() == 0) {
    names.push_back(kModelArgument);
  }
  for (const CLI::Option* option : command->get_options()) {
    if (option->get_required() && option->count() == 0) names.push_back(option->get_name());
  }
  if (names.empty()) return "";
  const std::string last = names.back();
  if (names.size() < 2) return absl::StrCat(last, " is missing");
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " and ", last, " are missing");
}

// Returns the error for a word of a command that no option and no argument takes.
std::string unexpected(CLI::App* command, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  if (is_option(word)) {
    return absl::StrCat("unknown option '", name, "'",
                        did_you_mean(name, names_of_options(command)));
  }
  const std::string missing = missing_options(command);
  return absl::StrCat("unexpected argument '", word, "'", missing.empty() ? "" : ", while ",
                      missing);
}

// Returns an error of CLI11 in plain words.
std::string explained(CLI::App* command, const CLI::ParseError& error) {
  const std::string message = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && command != nullptr) {
    const std::string name = message.substr(0, message.find(':'));
    const CLI::Option* option = command->get_option_no_throw(name);
    const size_t count = option == nullptr ? 0 : option->count();
    if (count < 2) return name + ": a value is missing";
    return absl::StrCat(name, ": given ", count, " times, but takes one value");
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && command != nullptr) {
    return missing_options(command);
  }
  const std::string no_conversion = "Could not convert: ";
  if (message.starts_with(no_conversion)) {  // only switches have no check of their own
    const std::string rest = message.substr(no_conversion.size());
    const size_t equals = rest.find(" = ");
    return absl::StrCat(rest.substr(0, equals), ": '",
                        rest.substr(std::min(equals + 3, rest.size())), "' is not true or false");
  }
  return absl::StrReplaceAll(
      message, {{" excludes ", " cannot be used together with "}, {" requires ", " needs "}});
}

int print_error(CLI::App* app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> parsed = app->get_subcommands();
  CLI::App* command = parsed.empty() ? nullptr : parsed.front();
  const std::vector<std::string> before = app->remaining();
  if (command == nullptr && before.empty()) {
    std::fputs(overview_text(app, help_width(stderr)).c_str(), stderr);
    return kUsageError;
  }
  std::string message;
  if (!before.empty()) {
    message = unexpected_before(app, before.front());
    command = nullptr;
  } else if (!command->remaining().empty()) {
    message = unexpected(command, command->remaining().front());
  } else {
    message = explained(command, error);
  }
  const std::string words = absl::StrCat("deltaserve", command != nullptr ? " " : "",
                                         command != nullptr ? command->get_name() : "");
  absl::FPrintF(stderr, "%s: %s\nRun '%s --help' for all %s.\n", words, message, words,
                command != nullptr ? "options" : "commands");
  return kUsageError;
}

void print_help(CLI::App* app) {
  const std::vector<CLI::App*> parsed = app->get_subcommands();
  const int width = help_width(stdout);
  const std::string text =
      parsed.empty() ? overview_text(app, width) : help_text(read_command(parsed.front()), width);
  std::fputs(text.c_str(), stdout);
}

// Such a value is most often that of an unset variable of a script: --api-key-file "$KEYS". Only a
// text may be empty. (An option with a callback that is always run has no value of its own.)
void refuse_empty_value(CLI::Option* option) {
  const bool has_value = option->get_expected_max() > 0;
  if (!has_value || option->get_type_name() == "TEXT" || option->get_force_callback()) return;
  option->check(CLI::Validator(
      [](std::string& value) { return value.empty() ? std::string("the value is empty") : ""; },
      ""));
}

bool is_on_command_line(const CLI::App* command, const CLI::Option* option) {
  const std::vector<CLI::Option*>& order = command->parse_order();
  return std::find(order.begin(), order.end(), option) != order.end();
}

}  // namespace

CLI::App* add_command(CLI::App* app, const std::string& name, const std::string& description) {
  CLI::App* command = app->add_subcommand(name, description);
  command->get_help_ptr()->group("Common")->description("Print this help and exit");
  // This is the first option, and its callback always runs first. So the other options have their
  // values when their callbacks run.
  command
      ->add_option_function<std::string>(
          "--config", [command](const std::string& path) { apply_fallbacks(command, path); },
          "TOML file that sets options which neither the command line nor the environment sets: "
          "a line such as http-port = 8080, for all commands or below [serve]")
      ->force_callback()
      ->type_name("FILE")
      ->group("Common");
  command->option_defaults()->group("Options");
  return command;
}

void add_model_argument(CLI::App* command, std::string* model, const std::string& placeholder,
                        const std::string& description) {
  command->add_option(kModelArgument, *model, description)->type_name(placeholder);
  command->add_option(kModelFlag, *model, "Another way to give MODEL")->type_name(placeholder);
}

bool settle_model(CLI::App* command, std::string* model) {
  const CLI::Option* argument = command->get_option(kModelArgument);
  const CLI::Option* flag = command->get_option(kModelFlag);
  if (argument->count() > 0) {
    *model = argument->results()[0];
    if (is_on_command_line(command, flag) && flag->results()[0] != *model) {
      throw CLI::ValidationError(
          kModelFlag, absl::StrCat("'", flag->results()[0], "' is not the MODEL '", *model,
                                   "' that is given too"));
    }
  }
  return argument->count() + flag->count() > 0;
}

void require_model(CLI::App* command, std::string* model, const std::string& example) {
  if (settle_model(command, model)) return;
  throw CLI::ValidationError(absl::StrCat("a model is missing, as in 'deltaserve ",
                                          command->get_name(), " ", example, "'"));
}

std::optional<int> parse_command_line(CLI::App* app, int argc, char** argv) {
  for (CLI::App* command : app->get_subcommands(nullptr)) {
    for (CLI::Option* option : command->get_options()) {
      // A flag takes one value even if it can be repeated: what follows may be the MODEL.
      if (!option->get_positional()) option->allow_extra_args(false);
      refuse_empty_value(option);
    }
  }
  try {
    app->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print_help(app);
    return 0;
  } catch (const CLI::CallForVersion& version) {
    absl::PrintF("%s\n", version.what());
    return 0;
  } catch (const CLI::ParseError& error) {
    return print_error(app, error);
  }
  const std::string warning = misspelt_variable(app);
  if (!warning.empty()) absl::FPrintF(stderr, "deltaserve: %s\n", warning);
  return std::nullopt;
}

}  // namespace deltaserve
