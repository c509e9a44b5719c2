#include "server/command_line/help.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace deltaserve {
namespace {

constexpr int kNarrowest = 80;
constexpr int kWidest = 100;
constexpr int kDescriptions = 28;  // the column in which descriptions begin
constexpr const char* kSources =
    "An option that is not given comes from the environment (--http-port from "
    "DELTASERVE_HTTP_PORT), then from the file of --config, and then has its default.";

// Appends "  LEFT   DESCRIPTION", the description in lines of its own if LEFT is long.
void append_row(std::string* out, const std::string& left, const std::string& right, int width) {
  std::string lines = wrapped(right, width, kDescriptions);
  const std::string head = "  " + left;
  if (head.size() + 2 <= kDescriptions && !lines.empty()) {
    lines.replace(0, head.size(), head);
  } else {
    out->append(head).append("\n");
  }
  out->append(lines);
}

void append_options(std::string* out, const std::vector<OptionEntry>& options,
                    const std::string& group, int width) {
  absl::StrAppend(out, "\n", group, ":\n");
  for (const OptionEntry& option : options) {
    if (option.group != group) continue;
    const std::string known = remarks(option);
    append_row(
        out, spelling(option),
        absl::StrCat(option.description, known.empty() ? "" : absl::StrCat(" [", known, "]")),
        width);
  }
}

std::vector<std::string> groups_of(const std::vector<OptionEntry>& options) {
  std::vector<std::string> groups;
  for (const OptionEntry& option : options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) {
      groups.push_back(option.group);
    }
  }
  // The options that all commands have come first in CLI11's order and last in the help.
  if (!groups.empty()) std::rotate(groups.begin(), groups.begin() + 1, groups.end());
  return groups;
}

}  // namespace

int help_width(std::FILE* stream) {
  winsize size{};
  const int descriptor = fileno(stream);
  if (descriptor < 0 || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return kNarrowest;
  return std::clamp<int>(size.ws_col, kNarrowest, kWidest);
}

std::string wrapped(const std::string& text, int width, int indent) {
  const auto most = static_cast<size_t>(width);
  const std::string margin(static_cast<size_t>(indent), ' ');
  std::string out, line;
  const std::vector<std::string> words =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  const auto end_line = [&] {
    if (!line.empty()) absl::StrAppend(&out, margin, line, "\n");
    line.clear();
  };
  for (const std::string& word : words) {
    if (!line.empty() && margin.size() + line.size() + 1 + word.size() > most) end_line();
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  end_line();
  return out;
}

std::vector<std::string> paragraphs_of(const std::string& text) {
  return absl::StrSplit(text, "\n\n", absl::SkipEmpty());
}

std::string spelling(const OptionEntry& option) {
  return absl::StrCat(absl::StrJoin(option.names, ", "),
                      option.value.empty() || option.names[0][0] != '-' ? "" : " ",
                      option.names[0][0] != '-' ? "" : option.value);
}

std::string remarks(const OptionEntry& option) {
  std::vector<std::string> parts;
  if (option.required) parts.push_back("required");
  if (option.repeatable) parts.push_back("repeatable");
  if (!option.default_value.empty()) parts.push_back("default: " + option.default_value);
  if (!option.choices.empty() && option.value.find('|') == std::string::npos) {
    parts.push_back("one of: " + absl::StrJoin(option.choices, ", "));
  }
  if (!option.least.empty()) {
    parts.push_back(absl::StrCat("range: ", option.least, " to ", option.most));
  }
  return absl::StrJoin(parts, "; ");
}

std::string synopsis(const CommandEntry& command) {
  std::string text;
  for (const OptionEntry& argument : command.arguments) {
    const std::string& name = argument.names[0];
    absl::StrAppend(&text, argument.required ? name : "[" + name + "]", " ");
  }
  for (const OptionEntry& option : command.options) {
    if (option.required) absl::StrAppend(&text, option.names[0], " ", option.value, " ");
  }
  return text + "[options]";
}

std::string help_text(const CommandEntry& command, int width) {
  std::string out = absl::StrCat("Usage: deltaserve ", command.name, " ", synopsis(command), "\n\n",
                                 wrapped(command.description + ".", width, 0));
  if (!command.arguments.empty()) {
    append_options(&out, command.arguments, command.arguments[0].group, width);
  }
  for (const std::string& group : groups_of(command.options)) {
    append_options(&out, command.options, group, width);
  }
  const bool has_sources =
      std::any_of(command.options.begin(), command.options.end(),
                  [](const OptionEntry& option) { return !option.variable.empty(); });
  if (has_sources) absl::StrAppend(&out, "\n", wrapped(kSources, width, 0));
  for (const std::string& paragraph : paragraphs_of(command.details)) {
    absl::StrAppend(&out, "\n", wrapped(paragraph, width, 0));
  }
  return out;
}

std::string overview_text(CLI::App* app, int width) {
  std::string out = absl::StrCat("Usage: deltaserve COMMAND [options]\n\n",
                                 wrapped(app->get_description(), width, 0), "\nCommands:\n");
  for (const CommandEntry& command : read_table(app)) {
    append_row(&out, command.name, command.description, width);
  }
  absl::StrAppend(&out, "\n",
                  wrapped("Run a command with --help for all its options. 'deltaserve --version' "
                          "prints the version.",
                          width, 0));
  return out;
}

}  // namespace deltaserve
