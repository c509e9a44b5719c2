// Options whose value is one of a few names.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace deltaserve {

// Lets `option` take these names and nothing else; help shows them.
template <class Value>
void take_one_of(CLI::Option* option, const std::vector<std::pair<std::string, Value>>& choices) {
  std::string names;
  for (const auto& choice : choices) names += (names.empty() ? "" : "|") + choice.first;
  const auto to_number = [choices, names](std::string& input) -> std::string {
    for (const auto& [name, value] : choices) {
      if (input == name) {
        input = std::to_string(static_cast<int>(value));
        return "";
      }
    }
    return "'" + input + "' is not one of " + names;
  };
  option->type_name(names)->transform(CLI::Validator(to_number, ""));
}

}  // namespace deltaserve
