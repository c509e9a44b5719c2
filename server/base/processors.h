#pragma once
#include <string>

namespace deltaserve {

// Returns how many processors the process may use: those of its affinity, or fewer if a control
// group (version 2 or 1) has a quota of processor time, which is rounded up. At least 1. `root` is
// "/" except in tests.
int usable_processors(const std::string& root = "/");

// Returns what the processor calls itself, for instance "AMD EPYC 9654"; empty: unknown.
std::string processor_name();

}  // namespace deltaserve
