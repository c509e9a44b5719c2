#include "engine/grammar/number_range.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/limits.h"
#include "engine/grammar/regex_parser.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

// A regex that matches no text. The regexes below are joined by '|'.
constexpr std::string_view kNothing = "[^\\x00-\xF4\x8F\xBF\xBF]";
constexpr size_t kLongestWhole =
    std::max(grammar_limits::kIntegerDigits, grammar_limits::kBoundedNumberDigits);
constexpr std::string_view kAnyInteger = "(?:0|[1-9][0-9]*)";

// A bound without rounding: [-]whole.fraction, without superfluous zeros.
struct Decimal {
  bool negative = false;
  std::string whole = "0";
  std::string fraction;
  bool exclusive = false;

  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

// A double of 2^64 or more may stand for another number, which the reader of the schema has
// rounded: the bound then moves inwards, upwards with `lower`.
double inwards(double bound, bool lower) {
  if (std::abs(bound) < 0x1p64) return bound;
  const double next = std::nextafter(bound, lower ? HUGE_VAL : -HUGE_VAL);
  return std::isfinite(next) ? next : bound;
}

Decimal decimal_of(const NumberBounds::Bound& bound, bool lower) {
  std::string text;
  if (const int64_t* integer = bound.number.if_int64()) {
    text = std::to_string(*integer);
  } else if (const uint64_t* large = bound.number.if_uint64()) {
    text = std::to_string(*large);
  } else if (const std::string_view digits = big_integer_text(bound.number); !digits.empty()) {
    text = digits;
  } else if (const double* real = bound.number.if_double()) {
    char buffer[512];  // a double has at most 309 digits before the point, 324 + 17 after it
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, inwards(*real, lower),
                                   std::chars_format::fixed);
    text.assign(buffer, end.ptr);
  }
  Decimal decimal;
  decimal.exclusive = bound.exclusive;
  decimal.negative = text.starts_with('-');
  if (decimal.negative) text.erase(0, 1);
  const size_t point = std::min(text.find('.'), text.size());
  decimal.whole = text.substr(0, point);
  decimal.fraction = point < text.size() ? text.substr(point + 1) : "";
  while (decimal.fraction.ends_with('0')) decimal.fraction.pop_back();
  if (decimal.is_zero()) decimal.negative = false;
  // The bound is beyond all numbers that are generated, so its exact value does not matter.
  if (decimal.whole.size() > kLongestWhole) {
    decimal.whole = "1" + std::string(kLongestWhole, '0');
    decimal.fraction.clear();
  }
  return decimal;
}

std::string alternatives(const std::vector<std::string>& choices) {
  if (choices.empty()) return std::string(kNothing);
  return str_cat("(?:", absl::StrJoin(choices, "|"), ")");
}

std::string digit_range(char first, char last) {
  return str_cat("[", std::string(1, first), "-", std::string(1, last), "]");
}

std::string any_digits(size_t count) {
  return str_cat("[0-9]{", count, "}");
}

// Returns a regex of whole numbers without sign above `digits`, or from it on with `inclusive`.
std::string wholes_above(const std::string& digits, bool inclusive) {
  const size_t n = digits.size();
  std::vector<std::string> choices{str_cat("[1-9][0-9]{", n, ",}")};
  for (size_t i = 0; i < n; ++i) {
    if (digits[i] == '9') continue;
    choices.push_back(str_cat(digits.substr(0, i),
                              digit_range(static_cast<char>(digits[i] + 1), '9'),
                              any_digits(n - i - 1)));
  }
  if (inclusive) choices.push_back(digits);
  return alternatives(choices);
}

std::string wholes_below(const std::string& digits, bool inclusive) {
  const size_t n = digits.size();
  std::vector<std::string> choices;
  if (n > 1) choices.push_back(str_cat("0|[1-9][0-9]{0,", n - 2, "}"));
  for (size_t i = 0; i < n; ++i) {
    const char lowest = i == 0 && n > 1 ? '1' : '0';
    if (digits[i] <= lowest) continue;
    choices.push_back(str_cat(digits.substr(0, i),
                              digit_range(lowest, static_cast<char>(digits[i] - 1)),
                              any_digits(n - i - 1)));
  }
  if (inclusive) choices.push_back(digits);
  return alternatives(choices);
}

// Returns a regex of what may follow the whole part, for numbers that have the bound's whole part.
std::string fractions_above(const std::string& digits, bool inclusive) {
  std::vector<std::string> choices;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] == '9') continue;
    choices.push_back(str_cat("\\.", digits.substr(0, i),
                              digit_range(static_cast<char>(digits[i] + 1), '9'), "[0-9]*"));
  }
  choices.push_back(str_cat("\\.", digits, "0*[1-9][0-9]*"));
  if (inclusive) choices.push_back(digits.empty() ? "(?:\\.0+)?" : str_cat("\\.", digits, "0*"));
  return alternatives(choices);
}

std::string fractions_below(const std::string& digits, bool inclusive) {
  std::vector<std::string> choices;
  if (!digits.empty()) choices.push_back("");
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0) choices.push_back(str_cat("\\.", digits.substr(0, i)));
    if (digits[i] == '0') continue;
    choices.push_back(str_cat("\\.", digits.substr(0, i),
                              digit_range('0', static_cast<char>(digits[i] - 1)), "[0-9]*"));
  }
  if (inclusive) choices.push_back(digits.empty() ? "(?:\\.0+)?" : str_cat("\\.", digits, "0*"));
  return alternatives(choices);
}

// Returns a regex of the numbers without sign on one side of the bound's absolute value.
std::string magnitudes_above(const Decimal& bound) {
  const std::string equal = str_cat(bound.whole, fractions_above(bound.fraction, !bound.exclusive));
  return str_cat("(?:", wholes_above(bound.whole, false), "(?:\\.[0-9]+)?|", equal, ")");
}

std::string magnitudes_below(const Decimal& bound) {
  const std::string equal = str_cat(bound.whole, fractions_below(bound.fraction, !bound.exclusive));
  return str_cat("(?:", wholes_below(bound.whole, false), "(?:\\.[0-9]+)?|", equal, ")");
}

std::string numbers_from(const Decimal& min) {
  if (!min.negative) return magnitudes_above(min);
  return str_cat(kAnyInteger, "(?:\\.[0-9]+)?|-", magnitudes_below(min));
}

std::string numbers_to(const Decimal& max) {
  if (max.negative || (max.is_zero() && max.exclusive)) {
    return str_cat("-", magnitudes_above(max));
  }
  return str_cat("-", kAnyInteger, "(?:\\.[0-9]+)?|", magnitudes_below(max));
}

absl::StatusOr<Dfa> within(const std::string& form, const NumberBounds& bounds,
                           AutomatonBudget* budget) {
  absl::StatusOr<Dfa> result = regex_dfa(form, budget);
  for (const bool lower : {true, false}) {
    for (const NumberBounds::Bound& bound : lower ? bounds.min : bounds.max) {
      if (!result.ok()) return result;
      const Decimal decimal = decimal_of(bound, lower);
      absl::StatusOr<Dfa> side =
          regex_dfa(lower ? numbers_from(decimal) : numbers_to(decimal), budget);
      if (!side.ok()) return side.status();
      result = intersect(*result, *side, budget);
    }
  }
  return result;
}

// A multiple of `unit` with at most `places` digits after the point is a decimal number whose
// digits without the point are a multiple of `factor`.
struct Multiple {
  uint32_t factor = 1;
  int places = 0;
};

absl::StatusOr<Multiple> multiple_of(const boost::json::value& unit) {
  if (!is_exact_number(unit)) return invalid_argument("'multipleOf' must be a number above 0");
  const Decimal decimal = decimal_of({unit, false}, true);
  if (decimal.negative || decimal.is_zero()) {
    return invalid_argument("'multipleOf' must be a number above 0");
  }
  const std::string digits = decimal.whole + decimal.fraction;
  constexpr int kDigits = 9;
  const size_t first = digits.find_first_not_of('0');
  if (digits.size() - first > kDigits || decimal.fraction.size() > kDigits) {
    return invalid_argument("'multipleOf' has more than ", kDigits, " digits");
  }
  Multiple multiple{0, static_cast<int>(decimal.fraction.size())};
  for (const char digit : digits) {
    multiple.factor = multiple.factor * 10 + static_cast<uint32_t>(digit - '0');
  }
  if (multiple.factor > grammar_limits::kMultiple) {
    return invalid_argument("'multipleOf' has more than ", grammar_limits::kMultiple,
                            " remainders to tell apart");
  }
  return multiple;
}

// Reads the digits of a number and keeps the remainder. After the point it counts the digits, and
// accepts where zeros up to the last place would leave no remainder.
Dfa multiples(const Multiple& multiple) {
  const uint32_t factor = multiple.factor;
  const auto state = [&](int places, uint32_t remainder) {
    return 1 + static_cast<uint32_t>(places) * factor + remainder;
  };
  const int parts = multiple.places + 1;
  Dfa result;
  result.states.resize(1 + static_cast<size_t>(parts) * factor);
  const auto add_digits = [&](uint32_t from, int places, uint64_t remainder) {
    for (uint8_t digit = 0; digit < 10; ++digit) {
      const auto byte = static_cast<uint8_t>('0' + digit);
      const auto next = static_cast<uint32_t>((remainder * 10 + digit) % factor);
      result.states[from].bytes.push_back({byte, byte, state(places, next)});
    }
  };
  result.states[0].bytes.push_back({'-', '-', state(0, 0)});
  add_digits(0, 0, 0);
  for (int places = 0; places < parts; ++places) {
    for (uint32_t remainder = 0; remainder < factor; ++remainder) {
      const uint32_t here = state(places, remainder);
      uint64_t rest = remainder;
      for (int i = places; i < multiple.places; ++i) rest = rest * 10 % factor;
      result.states[here].accepting = rest == 0;
      if (places == 0 && multiple.places > 0) {
        result.states[here].bytes.push_back({'.', '.', 0});  // set below
      }
      if (places == 0 || places < multiple.places) {
        add_digits(here, places == 0 ? 0 : places + 1, remainder);
      }
    }
  }
  if (multiple.places == 0) return result;
  // The point leads to a state of its own, because a digit must follow it.
  for (uint32_t remainder = 0; remainder < factor; ++remainder) {
    const auto point = static_cast<uint32_t>(result.states.size());
    result.states.emplace_back();
    add_digits(point, 1, remainder);
    result.states[state(0, remainder)].bytes[0].target = point;
  }
  return result;
}

absl::StatusOr<Dfa> with_multiples(absl::StatusOr<Dfa> numbers, const Multiple& multiple,
                                   AutomatonBudget* budget) {
  if (!numbers.ok()) return numbers;
  return intersect(*numbers, minimize(multiples(multiple), budget), budget);
}

}  // namespace

absl::StatusOr<Dfa> integers_between(const NumberBounds& bounds, AutomatonBudget* budget) {
  Multiple multiple;
  if (bounds.multiple_of) {
    absl::StatusOr<Multiple> given = multiple_of(*bounds.multiple_of);
    if (!given.ok()) return given.status();
    // An integer is a multiple of a/10^n if a multiple of 10^n shares it with a.
    multiple = *given;
    for (; multiple.places > 0; --multiple.places) {
      for (const uint32_t prime : {2u, 5u}) {
        if (multiple.factor % prime == 0) multiple.factor /= prime;
      }
    }
  }
  // With many remainders the states do not suffice to count digits, too.
  const int digits =
      multiple.factor > 64 ? grammar_limits::kBoundedNumberDigits : grammar_limits::kIntegerDigits;
  const std::string form = multiple.factor > 1024 ? std::string("0|-?[1-9][0-9]*")
                                                  : str_cat("0|-?[1-9][0-9]{0,", digits - 1, "}");
  absl::StatusOr<Dfa> result = within(form, bounds, budget);
  return multiple.factor == 1 ? result : with_multiples(std::move(result), multiple, budget);
}

absl::StatusOr<Dfa> numbers_between(const NumberBounds& bounds, AutomatonBudget* budget) {
  int whole = 1;
  int fraction = 0;
  for (const bool lower : {true, false}) {
    for (const NumberBounds::Bound& bound : lower ? bounds.min : bounds.max) {
      const Decimal decimal = decimal_of(bound, lower);
      whole = std::max(whole, static_cast<int>(decimal.whole.size()));
      fraction = std::max(fraction, static_cast<int>(decimal.fraction.size()));
    }
  }
  Multiple multiple;
  if (bounds.multiple_of) {
    absl::StatusOr<Multiple> given = multiple_of(*bounds.multiple_of);
    if (!given.ok()) return given.status();
    multiple = *given;
  }
  constexpr int kDigits = grammar_limits::kBoundedNumberDigits;
  const int behind = std::max({fraction, multiple.places, bounds.multiple_of ? 0 : 6});
  if (bounds.min.empty() || bounds.max.empty()) whole = std::max(whole, kDigits - behind);
  int fraction_max = std::min(kDigits - whole, grammar_limits::kBoundedFractionDigits);
  if (fraction > fraction_max) {
    return invalid_argument("bounds of a number may have ", kDigits, " digits, at most ",
                            grammar_limits::kBoundedFractionDigits, " of them after the point");
  }
  if (whole > kDigits) {
    return invalid_argument("bounds of a number may have ", kDigits, " digits");
  }
  if (bounds.multiple_of) fraction_max = std::min(fraction_max, multiple.places);
  std::string form = str_cat("-?(0|[1-9][0-9]{0,", whole - 1, "})");
  if (fraction_max > 0) form += str_cat("(\\.[0-9]{1,", fraction_max, "})?");
  absl::StatusOr<Dfa> result = within(form, bounds, budget);
  return bounds.multiple_of ? with_multiples(std::move(result), multiple, budget) : result;
}

}  // namespace deltaserve::grammar
