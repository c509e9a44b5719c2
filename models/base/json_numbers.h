// Numbers of JSON as their text gives them, where Boost.JSON keeps less: it has no integers beyond
// 64 bits, and its doubles may differ from the text's in the last bit. Python has both right.
//
// An integer beyond 64 bits is held as an object that no JSON text can express, because the name of
// its only member is not UTF-8.
#pragma once
#include <boost/json/value.hpp>
#include <boost/json/value_stack.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace deltaserve {

// Python reads no integer that is longer.
inline constexpr size_t kMostIntegerDigits = 4300;

// Returns whether the text of a JSON number is that of an integer.
bool is_integer_text(std::string_view number);
// Returns the number of digits of such a text, which may have a sign.
size_t count_digits(std::string_view integer);

// Pushes the value that holds the integer with this text: digits, perhaps after a minus sign.
void push_big_integer_on(boost::json::value_stack* stack, std::string_view digits);
// Returns the text of the integer that such a value holds; empty for every other value.
std::string_view big_integer_text(const boost::json::value& value);
// Returns whether a value is an object of the JSON text, and so no such integer.
bool is_json_object(const boost::json::value& value);
// Returns true for those integers and for Boost's numbers.
bool is_exact_number(const boost::json::value& value);

// Returns the double that is nearest to the text of a JSON number; infinity if it is too large.
double nearest_double(std::string_view number);
// Returns the text of a double as Python prints it: "1.0", "1e+22", "-0.0", "nan".
std::string python_float(double value);

// Parses text that is one JSON value. Returns nullopt if it is none, nested deeper than `depth` or
// has an integer of too many digits. Of equal keys the last one counts.
std::optional<boost::json::value> parse_json_exactly(std::string_view text, size_t depth);
// Writes a value without spaces, with numbers as Python writes them.
std::string exact_json(const boost::json::value& value);
// Writes its first `most` bytes, and "..." after them if there are more.
std::string exact_json_up_to(size_t most, const boost::json::value& value);

}  // namespace deltaserve
