// Integers beyond 64 bits, which Python has without bound and templates up to the digits that
// Python prints.
#pragma once
#include <boost/multiprecision/cpp_int.hpp>
#include <compare>
#include <optional>

#include "server/template/runtime.h"

namespace deltaserve {

using WholeNumber = boost::multiprecision::cpp_int;

struct BigNode {
  WholeNumber value;
  MemoryCharge charge;
};

// Returns the number of a bool or an integer of any size; nullopt for other values.
std::optional<WholeNumber> whole_number(const Value& value);
// Returns an integer that a template has in its source.
Value constant_integer(const WholeNumber& number);
// Makes an integer, of 64 bits if they suffice. Fails if it has more digits than Python prints.
Value make_integer(Runtime& runtime, const WholeNumber& number, bool trusted);
// Makes the integer that is left of a finite number without its fraction.
Value truncated_integer(Runtime& runtime, double number, bool trusted);

// Returns the nearest double; nullopt if the number is out of range.
std::optional<double> double_of(const WholeNumber& number);
// Returns the order of two numbers of any kind, which NaN has none of. Neither is rounded.
std::partial_ordering compare_numbers(const Value& a, const Value& b);

// Returns the quotient rounded down, and the remainder that goes with it. b must not be zero.
std::pair<WholeNumber, WholeNumber> floor_division(const WholeNumber& a, const WholeNumber& b);
// Returns the double that is nearest to a / b; nullopt if it is out of range. b must not be zero.
std::optional<double> true_quotient(const WholeNumber& a, const WholeNumber& b);
// Returns the power; nullopt if it has more digits than Python prints. The exponent must not be
// negative.
std::optional<WholeNumber> whole_power(const WholeNumber& base, const WholeNumber& exponent);

}  // namespace deltaserve
