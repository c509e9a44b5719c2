#include "server/base/shown_value.h"

#include <charconv>
#include <sstream>

#include "models/base/json_numbers.h"
#include "server/base/json_text.h"

namespace deltaserve {
namespace {

constexpr size_t kShownBytes = 64;

}  // namespace

std::string shown(double number) {
  char digits[40];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}

std::string shown(const absl::int128& number) {
  // Readers give larger numbers these values.
  if (number == absl::Int128Max()) return "a number above 1e38";
  if (number == absl::Int128Min()) return "a number below -1e38";
  std::ostringstream out;
  out << number;
  return out.str();
}

std::string shown(std::string_view text) {
  std::string out;
  append_json_string(&out, text.substr(0, kShownBytes));
  return text.size() > kShownBytes ? out + "..." : out;
}

std::string shown(const boost::json::value& value) {
  if (value.is_double()) return shown(value.get_double());
  if (const std::string_view digits = big_integer_text(value); !digits.empty()) {
    return std::string(digits.substr(0, kShownBytes)) + (digits.size() > kShownBytes ? "..." : "");
  }
  if (value.is_string()) {
    return shown(std::string_view(value.get_string().data(), value.get_string().size()));
  }
  return exact_json_up_to(kShownBytes, value);
}

}  // namespace deltaserve
