// Parses numbers in texts like Python's int() and float().
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace deltaserve {

enum class NumberError { kNone, kNoNumber, kTooLarge };

// Parses an integer. Surrounding white space and underscores between digits are allowed. `base` is
// in [2, 36].
NumberError parse_integer(std::string_view text, int base, int64_t* value);
std::optional<double> parse_float(std::string_view text);

}  // namespace deltaserve
