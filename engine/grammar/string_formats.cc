#include "engine/grammar/string_formats.h"

#include <string>

#include "engine/grammar/regex_parser.h"
#include "models/text.h"

namespace deltaserve::grammar {
namespace {

constexpr std::string_view kYear = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
constexpr std::string_view kLeapYear =  // years that end a century are left out
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26]))";
constexpr std::string_view kMonthAndDay =
    "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|"
    "(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)";
constexpr std::string_view kTime =
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
constexpr std::string_view kUuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
constexpr std::string_view kOctet = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
constexpr std::string_view kEmail =
    "[A-Za-z0-9_%+-]{1,24}(?:\\.[A-Za-z0-9_%+-]{1,12}){0,2}@"
    "(?:[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?\\.){1,3}[a-z]{2,12}";

}  // namespace

absl::StatusOr<Dfa> format_dfa(std::string_view format, AutomatonBudget* budget) {
  const std::string date = str_cat("(?:", kYear, "-", kMonthAndDay, "|", kLeapYear, "-02-29)");
  if (format == "date") return regex_dfa(date, budget);
  if (format == "time") return regex_dfa(kTime, budget);
  if (format == "date-time") return regex_dfa(str_cat(date, "T", kTime), budget);
  if (format == "uuid") return regex_dfa(kUuid, budget);
  if (format == "ipv4") return regex_dfa(str_cat(kOctet, "(?:\\.", kOctet, "){3}"), budget);
  if (format == "email") return regex_dfa(kEmail, budget);
  return invalid_argument(quoted(format),
                          " is not supported; supported are date, time, date-time, uuid, email, "
                          "ipv4");
}

}  // namespace deltaserve::grammar
