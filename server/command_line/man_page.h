#pragma once
#include <string>
#include <vector>

#include "server/command_line/table.h"

namespace deltaserve {

// Returns the manual page deltaserve(1), in the macros of man(7).
std::string man_page(const std::vector<CommandEntry>& table, const std::string& version);

}  // namespace deltaserve
