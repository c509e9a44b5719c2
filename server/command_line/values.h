// The kinds of values that options take. Each is a validator of CLI11 whose name says the kind and
// whose description says the range or the choices; help, the man page and the completions are made
// of both.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"

namespace deltaserve {

inline constexpr const char* kRangeName = "range";    // described as "LEAST to MOST"
inline constexpr const char* kChoiceName = "choice";  // described as "NAME|NAME"
inline constexpr uint64_t kLargestSize = uint64_t{1} << 50;

// Both ends belong to the ranges. Errors quote the value and say the range.
CLI::Validator whole_number_in(absl::int128 least, absl::int128 most);
CLI::Validator number_in(double least, double most);
// A number of bytes, with a unit or without: 512MiB, 4G, 1048576. The units are powers of 1024.
CLI::Validator size_from(uint64_t least);
// Accepts one of the names and replaces it by the value beside it.
CLI::Validator one_of(std::vector<std::pair<std::string, std::string>> names_and_values);

// Takes the whole range of a type.
template <class Number>
CLI::Validator any_number() {
  return whole_number_in(std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max());
}

// Adds an option that takes one of a few names; its default is the name of *value.
template <class Value>
CLI::Option* add_choice(CLI::App* command, const std::string& flag, Value* value,
                        const std::string& description,
                        const std::vector<std::pair<std::string, Value>>& choices) {
  CLI::Option* option = command->add_option(flag, *value, description);
  std::vector<std::pair<std::string, std::string>> numbers;
  std::string names;
  for (const auto& [name, choice] : choices) {
    numbers.emplace_back(name, std::to_string(static_cast<int>(choice)));
    names += (names.empty() ? "" : "|") + name;
    if (choice == *value) option->default_str(name);
  }
  return option->type_name(names)->transform(one_of(numbers));
}

}  // namespace deltaserve
