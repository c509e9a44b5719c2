// Describes how arguments are written in a call that has no JSON object for them.
#pragma once
#include <string>

namespace deltaserve::grammar {

// Each argument is key_open KEY key_close VALUE value_space value_close behind_value.
struct ArgumentSyntax {
  std::string key_open{};
  std::string key_close{};  // up to the value
  std::string value_space{};
  std::string value_close{};
  std::string behind_value{};
  std::string separator{};
  std::string end{};  // comes after the last argument; not empty
  // Values may be spelled as Python does, too, and the space of the separator may be missing.
  bool python_values = false;
  // Strings are raw text up to the first value_close, which then is not empty.
  bool raw_strings = false;
};

}  // namespace deltaserve::grammar
