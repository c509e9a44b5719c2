#include "server/command_line/man_page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/command_line/help.h"

namespace deltaserve {
namespace {

// Returns text that roff prints as it is.
std::string escaped(const std::string& text) {
  std::string out = absl::StrReplaceAll(
      text, {{"\\", "\\e"}, {"-", "\\-"}, {"'", "\\(aq"}, {"\"", "\\(dq"}, {"`", "\\(ga"}});
  // A dot at the beginning of a line would be a macro.
  if (out.starts_with(".")) out.insert(0, "\\&");
  return absl::StrReplaceAll(out, {{"\n.", "\n\\&."}});
}

void append_paragraphs(std::string* out, const std::string& text) {
  for (const std::string& paragraph : paragraphs_of(text)) {
    absl::StrAppend(out, ".PP\n", escaped(absl::StrReplaceAll(paragraph, {{"\n", " "}})), "\n");
  }
}

void append_option(std::string* out, const OptionEntry& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.names) {
    names.push_back(absl::StrCat("\\fB", escaped(name), "\\fR"));
  }
  const bool has_value = option.names[0][0] == '-' && !option.value.empty();
  absl::StrAppend(out, ".TP\n", absl::StrJoin(names, ", "),
                  has_value ? absl::StrCat(" \\fI", escaped(option.value), "\\fR") : "", "\n",
                  escaped(option.description));
  std::string known = remarks(option);
  if (!option.variable.empty()) {
    absl::StrAppend(&known, known.empty() ? "" : "; ", "variable: ", option.variable);
  }
  if (!known.empty()) absl::StrAppend(out, " [", escaped(known), "]");
  out->append("\n");
}

void append_command(std::string* out, const CommandEntry& command) {
  absl::StrAppend(out, ".SS deltaserve ", escaped(command.name), " ", escaped(synopsis(command)),
                  "\n", escaped(command.description), ".\n");
  for (const OptionEntry& argument : command.arguments) append_option(out, argument);
  for (const OptionEntry& option : command.options) append_option(out, option);
  append_paragraphs(out, command.details);
}

}  // namespace

std::string man_page(const std::vector<CommandEntry>& table, const std::string& version) {
  std::string out = absl::StrCat(
      ".TH DELTASERVE 1 \"\" \"deltaserve ", escaped(version), "\" \"User Commands\"\n",
      ".SH NAME\ndeltaserve \\- inference server for linear\\-attention language models\n",
      ".SH SYNOPSIS\n.B deltaserve\n.I COMMAND\n[options]\n", ".SH DESCRIPTION\n");
  out.append(escaped(
      "deltaserve serves, runs, measures and describes linear-attention language models: models "
      "that keep their whole context in a state of constant size. Each command is one task."));
  out.append("\n.SH COMMANDS\n");
  for (const CommandEntry& command : table) append_command(&out, command);
  out.append(".SH CONFIGURATION\n");
  append_paragraphs(
      &out,
      "An option takes its value from the first of these that has one: the command line, the "
      "environment, the file of --config, the default.\n\n"
      "The variable of an option is named in its description. A switch takes true or false. An "
      "empty variable counts as unset.\n\n"
      "The file is written in TOML. Its keys are the long names of options without the dashes. "
      "Keys at the top must be options of the command that runs; keys of a section such as [serve] "
      "apply to that command only. A key that is not an option is an error.");
  out.append(".SH EXIT STATUS\n");
  append_paragraphs(&out,
                    "0 after success, 1 after a failure, 2 for a wrong command line. "
                    "An error is one sentence on standard error.");
  out.append(".SH EXAMPLES\n.nf\n");
  out.append(
      escaped("deltaserve serve models/bundled --http-port 8080\n"
              "deltaserve chat models/bundled\n"
              "deltaserve generate models/bundled --prompt \"Once upon a time\"\n"
              "deltaserve completion bash > deltaserve.bash"));
  out.append("\n.fi\n");
  return out;
}

}  // namespace deltaserve
