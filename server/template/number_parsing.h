// Parses numbers in texts like Python's int() and float().
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "server/template/big_integer.h"

namespace deltaserve {

enum class NumberError { kNone, kNoNumber, kTooLarge };

// Parses an integer. Surrounding white space and underscores between digits are allowed. `base` is
// in [2, 36]. kTooLarge: the integer is longer than the longest that Python reads.
NumberError parse_integer(std::string_view text, int base, WholeNumber* value);
std::optional<double> parse_float(std::string_view text);

}  // namespace deltaserve
