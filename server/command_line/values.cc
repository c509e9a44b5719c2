#include "server/command_line/values.h"

#include <cctype>
#include <charconv>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/suggestion.h"

namespace deltaserve {
namespace {

// Knows only what fits into 64 bits, signed or not.
std::string number_text(absl::int128 value) {
  return value < 0 ? absl::StrCat(static_cast<int64_t>(value))
                   : absl::StrCat(static_cast<uint64_t>(value));
}

std::string not_a(const std::string& input, const char* kind, const std::string& range) {
  return absl::StrCat("'", input, "' is not ", kind, " from ", range);
}

// Returns the bytes of a unit; 0: there is no such unit.
double unit_bytes(std::string unit) {
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (unit.empty() || unit == "b") return 1;
  constexpr std::string_view kPrefixes = "kmgtp";
  const size_t power = kPrefixes.find(unit[0]);
  const std::string rest = unit.substr(1);
  if (power == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) return 0;
  return std::pow(1024.0, static_cast<double>(power + 1));
}

}  // namespace

CLI::Validator whole_number_in(absl::int128 least, absl::int128 most) {
  const std::string range = number_text(least) + " to " + number_text(most);
  const auto check = [least, most, range](std::string& input) -> std::string {
    absl::int128 value;
    if (!absl::SimpleAtoi(input, &value) || value < least || value > most) {
      return not_a(input, "a whole number", range);
    }
    input = number_text(value);
    return "";
  };
  return CLI::Validator(check, range, kRangeName);
}

CLI::Validator number_in(double least, double most) {
  const std::string range = absl::StrCat(least, " to ", most);
  const auto check = [least, most, range](std::string& input) -> std::string {
    double value = 0;
    const char* const end = input.data() + input.size();
    const auto [after, ec] = std::from_chars(input.data(), end, value);  // decimal digits only
    const bool in_range = ec == std::errc() && after == end && value >= least && value <= most;
    return in_range ? "" : not_a(input, "a number", range);
  };
  return CLI::Validator(check, range, kRangeName);
}

CLI::Validator size_from(uint64_t least) {
  const std::string range = absl::StrCat(least, " to 1PiB");
  const auto check = [least, range](std::string& input) -> std::string {
    std::string error = not_a(input, "a size", range) + ", such as 512MiB or 4GiB";
    double number = 0;
    const char* const end = input.data() + input.size();
    const auto [after, ec] = std::from_chars(input.data(), end, number, std::chars_format::fixed);
    if (ec != std::errc()) return error;
    const char* unit = after;
    while (unit != end && *unit == ' ') ++unit;
    const double unit_size = unit_bytes(std::string(unit, end));
    const double bytes = number * unit_size;
    if (unit_size == 0 || !(bytes >= static_cast<double>(least) && bytes <= double{kLargestSize})) {
      return error;
    }
    input = absl::StrCat(static_cast<uint64_t>(bytes));
    return "";
  };
  return CLI::Validator(check, range, kRangeName);
}

CLI::Validator one_of(std::vector<std::pair<std::string, std::string>> names_and_values) {
  std::vector<std::string> names;
  std::string list;
  for (const auto& choice : names_and_values) {
    names.push_back(choice.first);
    list += (list.empty() ? "" : "|") + choice.first;
  }
  const auto check = [choices = std::move(names_and_values), names,
                      list](std::string& input) -> std::string {
    for (const auto& [name, value] : choices) {
      if (input == name) {
        input = value;
        return "";
      }
    }
    return absl::StrCat("'", input, "' is not one of ", list, did_you_mean(input, names));
  };
  return CLI::Validator(check, list, kChoiceName);
}

}  // namespace deltaserve
