#include "server/command_line/completions.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace deltaserve {
namespace {

enum class ValueKind { kNothing, kChoice, kFile, kFolder, kOther };

ValueKind kind_of(const OptionEntry& option) {
  if (option.value.empty()) return ValueKind::kNothing;
  if (!option.choices.empty()) return ValueKind::kChoice;
  if (option.value.find("FILE") != std::string::npos) return ValueKind::kFile;
  if (option.value.find("DIR") != std::string::npos) return ValueKind::kFolder;
  return ValueKind::kOther;
}

std::string choices_of(const OptionEntry& option) {
  return absl::StrJoin(option.choices, " ");
}

std::vector<std::string> command_names(const std::vector<CommandEntry>& table) {
  std::vector<std::string> names;
  for (const CommandEntry& command : table) names.push_back(command.name);
  return names;
}

std::string all_names(const std::vector<OptionEntry>& options) {
  std::vector<std::string> names;
  for (const OptionEntry& option : options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return absl::StrJoin(names, " ");
}

// Returns the first sentence of a description, without characters that are special in a shell.
std::string short_description(std::string text) {
  text.resize(std::min({text.find(". "), text.find("; "), text.find(':'), text.size()}));
  return absl::StrReplaceAll(text, {{"'", ""}, {"[", "("}, {"]", ")"}, {"\\", ""}, {"`", ""}});
}

// ---- bash

std::string bash_action(const OptionEntry& option) {
  switch (kind_of(option)) {
    case ValueKind::kChoice:
      return absl::StrCat("COMPREPLY=($(compgen -W '", choices_of(option), "' -- \"$word\"))");
    case ValueKind::kFile: return "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\"))";
    case ValueKind::kFolder: return "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$word\"))";
    case ValueKind::kNothing:
    case ValueKind::kOther: break;
  }
  return ":";
}

void append_bash_command(std::string* out, const CommandEntry& command) {
  absl::StrAppend(out, "    ", command.name, ")\n      case \"$previous\" in\n");
  for (const OptionEntry& option : command.options) {
    if (option.value.empty()) continue;
    absl::StrAppend(out, "        ", absl::StrJoin(option.names, "|"), ") ", bash_action(option),
                    "; return ;;\n");
  }
  absl::StrAppend(out,
                  "      esac\n      if [[ $word == -* ]]; then\n        COMPREPLY=($(compgen -W '",
                  all_names(command.options), "' -- \"$word\"))\n");
  if (!command.arguments.empty()) {
    absl::StrAppend(out, "      else\n        ", bash_action(command.arguments[0]), "\n");
  }
  absl::StrAppend(out, "      fi ;;\n");
}

// ---- zsh

std::string zsh_action(const OptionEntry& option) {
  switch (kind_of(option)) {
    case ValueKind::kChoice: return absl::StrCat("(", choices_of(option), ")");
    case ValueKind::kFile: return "_files";
    case ValueKind::kFolder: return "_files -/";
    case ValueKind::kNothing:
    case ValueKind::kOther: break;
  }
  return "";
}

void append_zsh_command(std::string* out, const CommandEntry& command) {
  absl::StrAppend(out, "    ", command.name, ")\n      _arguments");
  for (const OptionEntry& option : command.options) {
    for (const std::string& name : option.names) {
      absl::StrAppend(out, " \\\n        '", option.repeatable ? "*" : "", name, "[",
                      short_description(option.description), "]");
      if (!option.value.empty()) {
        absl::StrAppend(out, ":", option.value, ":", zsh_action(option));
      }
      out->append("'");
    }
  }
  int position = 0;
  for (const OptionEntry& argument : command.arguments) {
    absl::StrAppend(out, " \\\n        '", ++position, ":", argument.names[0], ":",
                    zsh_action(argument), "'");
  }
  out->append(" ;;\n");
}

// ---- fish

void append_fish_value(std::string* out, const OptionEntry& option) {
  switch (kind_of(option)) {
    case ValueKind::kNothing: break;
    case ValueKind::kChoice: absl::StrAppend(out, " -x -a '", choices_of(option), "'"); break;
    case ValueKind::kFile: out->append(" -r -F"); break;
    case ValueKind::kFolder: out->append(" -x -a '(__fish_complete_directories)'"); break;
    case ValueKind::kOther: out->append(" -x"); break;
  }
}

void append_fish_command(std::string* out, const CommandEntry& command) {
  const std::string head =
      absl::StrCat("complete -c deltaserve -n '__fish_seen_subcommand_from ", command.name, "'");
  for (const OptionEntry& option : command.options) {
    out->append(head);
    for (const std::string& name : option.names) {
      const bool is_long = name.starts_with("--");
      absl::StrAppend(out, is_long ? " -l " : " -s ", name.substr(is_long ? 2 : 1));
    }
    append_fish_value(out, option);
    absl::StrAppend(out, " -d '", short_description(option.description), "'\n");
  }
  for (const OptionEntry& argument : command.arguments) {
    out->append(head);
    append_fish_value(out, argument);
    absl::StrAppend(out, " -d '", short_description(argument.description), "'\n");
  }
}

}  // namespace

std::string bash_completion(const std::vector<CommandEntry>& table) {
  std::string out = absl::StrCat(
      "# Completes the commands and options of deltaserve in bash.\n"
      "_deltaserve() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '",
      absl::StrJoin(command_names(table), " "),
      " --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n");
  for (const CommandEntry& command : table) append_bash_command(&out, command);
  out.append("  esac\n}\ncomplete -F _deltaserve deltaserve\n");
  return out;
}

std::string zsh_completion(const std::vector<CommandEntry>& table) {
  std::string out =
      "#compdef deltaserve\n"
      "# Completes the commands and options of deltaserve in zsh.\n"
      "_deltaserve() {\n"
      "  local -a commands=(\n";
  for (const CommandEntry& command : table) {
    absl::StrAppend(&out, "    '", command.name, ":", short_description(command.description),
                    "'\n");
  }
  out.append(
      "  )\n"
      "  if ((CURRENT == 2)); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  ((CURRENT--))\n"
      "  case $command in\n");
  for (const CommandEntry& command : table) append_zsh_command(&out, command);
  out.append(
      "  esac\n"
      "}\n"
      "if [[ $funcstack[1] == _deltaserve ]]; then _deltaserve \"$@\"; else compdef _deltaserve "
      "deltaserve; fi\n");
  return out;
}

std::string fish_completion(const std::vector<CommandEntry>& table) {
  std::string out =
      "# Completes the commands and options of deltaserve in fish.\n"
      "complete -c deltaserve -f\n";
  for (const CommandEntry& command : table) {
    absl::StrAppend(&out, "complete -c deltaserve -n __fish_use_subcommand -a ", command.name,
                    " -d '", short_description(command.description), "'\n");
  }
  for (const CommandEntry& command : table) append_fish_command(&out, command);
  return out;
}

}  // namespace deltaserve
