// Finds the name that was probably meant.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// Returns "; did you mean 'X'?" with the name that is most like `given`; empty: none is like it.
std::string did_you_mean(std::string_view given, const std::vector<std::string>& names);

}  // namespace deltaserve
