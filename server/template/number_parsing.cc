#include "server/template/number_parsing.h"

#include <charconv>
#include <cmath>
#include <string>
#include <system_error>

#include "models/base/json_numbers.h"
#include "server/template/unicode.h"

namespace deltaserve {
namespace {

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Removes surrounding white space, a plus sign and underscores between digits; nullopt if an
// underscore or sign is elsewhere.
std::optional<std::string> cleaned(std::string_view text) {
  const Span span = trimmed(text, true, true);
  text = text.substr(span.begin, span.end - span.begin);
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) return std::nullopt;
  }
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      clean.push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() || !is_alphanumeric(text[i - 1]) ||
               !is_alphanumeric(text[i + 1])) {
      return std::nullopt;
    }
  }
  return clean;
}

// Removes "0x", "0o" and "0b" before the digits of their base.
void drop_prefix(int base, std::string* digits) {
  const char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
  const size_t at = digits->starts_with('-') ? 1 : 0;
  if (letter == '\0' || digits->size() < at + 3 || (*digits)[at] != '0') return;
  if (((*digits)[at + 1] | 0x20) == letter) digits->erase(at, 2);
}

}  // namespace

NumberError parse_integer(std::string_view text, int base, WholeNumber* value) {
  std::optional<std::string> digits = cleaned(text);
  if (!digits.has_value()) return NumberError::kNoNumber;
  drop_prefix(base, &*digits);
  const char* end = digits->data() + digits->size();
  int64_t small = 0;
  const auto result = std::from_chars(digits->data(), end, small, base);
  if (result.ptr != end || digits->empty()) return NumberError::kNoNumber;
  *value = small;
  if (result.ec == std::errc()) return NumberError::kNone;
  const bool negative = digits->starts_with('-');
  if (digits->size() - (negative ? 1 : 0) > kMostIntegerDigits) return NumberError::kTooLarge;
  *value = 0;
  for (const char* digit = digits->data() + (negative ? 1 : 0); digit < end; ++digit) {
    std::from_chars(digit, digit + 1, small, base);
    *value = *value * base + small;
  }
  if (negative) *value = -*value;
  return NumberError::kNone;
}

std::optional<double> parse_float(std::string_view text) {
  const std::optional<std::string> digits = cleaned(text);
  if (!digits.has_value() || digits->empty()) return std::nullopt;
  double value = 0;
  const char* end = digits->data() + digits->size();
  const auto result = std::from_chars(digits->data(), end, value);
  if (result.ptr != end) return std::nullopt;
  if (result.ec != std::errc::result_out_of_range) return value;
  // The number is too large or too small; the exponent tells which.
  const bool small = digits->find("e-") != std::string::npos ||
                     digits->find("E-") != std::string::npos ||
                     digits->find_first_of("123456789") > 1;
  const double magnitude = small ? 0.0 : HUGE_VAL;
  return digits->starts_with('-') ? -magnitude : magnitude;
}

}  // namespace deltaserve
