#include "engine/grammar/number_range.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/limits.h"
#include "engine/grammar/regex_parser.h"
#include "models/text.h"

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

Decimal decimal_of(const NumberBounds::Bound& bound) {
  std::string text;
  if (const int64_t* integer = bound.number.if_int64()) {
    text = std::to_string(*integer);
  } else if (const uint64_t* large = bound.number.if_uint64()) {
    text = std::to_string(*large);
  } else if (const double* real = bound.number.if_double()) {
    char digits[512];  // a double has at most 309 digits before the point, 324 + 17 after it
    const auto end = std::to_chars(digits, digits + sizeof digits, *real, std::chars_format::fixed);
    text.assign(digits, end.ptr);
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
  // It lies beyond all numbers that are generated; its exact value does not matter.
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
    const std::optional<NumberBounds::Bound>& bound = lower ? bounds.min : bounds.max;
    if (!bound || !result.ok()) continue;
    const Decimal decimal = decimal_of(*bound);
    absl::StatusOr<Dfa> side =
        regex_dfa(lower ? numbers_from(decimal) : numbers_to(decimal), budget);
    if (!side.ok()) return side.status();
    result = intersect(*result, *side, budget);
  }
  return result;
}

}  // namespace

absl::StatusOr<Dfa> integers_between(const NumberBounds& bounds, AutomatonBudget* budget) {
  return within(str_cat("0|-?[1-9][0-9]{0,", grammar_limits::kIntegerDigits - 1, "}"), bounds,
                budget);
}

absl::StatusOr<Dfa> numbers_between(const NumberBounds& bounds, AutomatonBudget* budget) {
  int whole = 1;
  int fraction = 0;
  for (const std::optional<NumberBounds::Bound>& bound : {bounds.min, bounds.max}) {
    if (!bound) continue;
    const Decimal decimal = decimal_of(*bound);
    whole = std::max(whole, static_cast<int>(decimal.whole.size()));
    fraction = std::max(fraction, static_cast<int>(decimal.fraction.size()));
  }
  constexpr int kDigits = grammar_limits::kBoundedNumberDigits;
  if (!bounds.min || !bounds.max) whole = std::max(whole, kDigits - std::max(fraction, 6));
  const int fraction_max = std::min(kDigits - whole, grammar_limits::kBoundedFractionDigits);
  if (fraction > fraction_max) {
    return invalid_argument("bounds of a number may have ", kDigits, " digits, at most ",
                            grammar_limits::kBoundedFractionDigits, " of them after the point");
  }
  if (whole > kDigits) {
    return invalid_argument("bounds of a number may have ", kDigits, " digits");
  }
  std::string form = str_cat("-?(0|[1-9][0-9]{0,", whole - 1, "})");
  if (fraction_max > 0) form += str_cat("(\\.[0-9]{1,", fraction_max, "})?");
  return within(form, bounds, budget);
}

}  // namespace deltaserve::grammar
