// Help as text for a terminal.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "server/command_line/table.h"

namespace deltaserve {

// Returns how wide the lines of help on this stream may be: as the terminal, but 80 to 100 columns.
int help_width(std::FILE* stream);

// Returns the help of a command, and the list of all commands.
std::string help_text(const CommandEntry& command, int width);
std::string overview_text(CLI::App* app, int width);

// Returns "[MODEL] [options]": what may follow the name of the command.
std::string synopsis(const CommandEntry& command);
// Returns "--http-port, --port PORT".
std::string spelling(const OptionEntry& option);
// Returns what is known of its values: "default: 8080, range: 0 to 65535"; may be empty.
std::string remarks(const OptionEntry& option);

// Returns the paragraphs of `text`, which are separated by empty lines.
std::vector<std::string> paragraphs_of(const std::string& text);

// Returns the words of `text` in lines of at most `width` columns, which begin with `indent`
// spaces. A word that is longer has a line of its own.
std::string wrapped(const std::string& text, int width, int indent);

}  // namespace deltaserve
