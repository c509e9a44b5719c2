// Scripts that let a shell complete the commands, their options, and values: choices, files and
// folders.
#pragma once
#include <string>
#include <vector>

#include "server/command_line/table.h"

namespace deltaserve {

std::string bash_completion(const std::vector<CommandEntry>& table);
std::string zsh_completion(const std::vector<CommandEntry>& table);
std::string fish_completion(const std::vector<CommandEntry>& table);

}  // namespace deltaserve
