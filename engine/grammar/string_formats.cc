#include "engine/grammar/string_formats.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "engine/grammar/regex_parser.h"
#include "models/base/text.h"

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
constexpr std::string_view kUuid =
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";
constexpr std::string_view kOctet = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
constexpr std::string_view kEmail =
    "[A-Za-z0-9_%+-]{1,24}(?:\\.[A-Za-z0-9_%+-]{1,12}){0,2}@"
    "(?:[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?\\.){1,3}[a-z]{2,12}";
// Labels with two hyphens in a row are left out: some of them are reserved.
constexpr std::string_view kHostname =
    "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,24}(?:\\.[A-Za-z0-9](?:-?[A-Za-z0-9]){0,24}){0,3}";
constexpr std::string_view kDuration =  // RFC 3339, appendix A
    "P(?:[0-9]{1,9}W|T(?:TIME)|(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|"
    "[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)(?:T(?:TIME))?)";
constexpr std::string_view kDurationTime =
    "[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S";
constexpr std::string_view kBase64 =
    "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?";
constexpr std::string_view kJsonPointer = "(?:/(?:[^~/]|~[01])*)*";
// RFC 3986: a character of a path, and what may follow a path.
constexpr std::string_view kPathCharacter = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
constexpr std::string_view kAuthority =
    "(?:[A-Za-z0-9._~-]+@)?[A-Za-z0-9](?:[.-]?[A-Za-z0-9])*(?::[0-9]{1,4})?";

std::string ipv6() {
  const std::string group = "[0-9A-Fa-f]{1,4}";
  std::string forms = str_cat("(?:", group, ":){7}", group, "|::(?:", group, "(?::", group,
                              "){0,6})?|(?:", group, ":){1,7}:");
  for (int before = 1; before <= 6; ++before) {
    forms += str_cat("|", group, "(?::", group, "){", before - 1, "}(?::", ":", group,
                     ")(?::", group, "){0,", 6 - before, "}");
  }
  return forms;
}

// Returns what follows the scheme, or the begin of a path.
std::string uri_tail(std::string_view path) {
  return str_cat(path, "(?:\\?(?:", kPathCharacter, "|[/?])*)?(?:#(?:", kPathCharacter,
                 "|[/?])*)?");
}

std::string uri() {
  const std::string segments = str_cat("(?:/", kPathCharacter, "*)*");
  const std::string hierarchy =
      str_cat("(?://", kAuthority, segments, "|", kPathCharacter, "+", segments, ")");
  return str_cat("[A-Za-z][A-Za-z0-9+.-]{0,19}:", uri_tail(hierarchy));
}

std::string uri_reference() {
  const std::string segments = str_cat("(?:/", kPathCharacter, "*)*");
  const std::string first = "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+";
  const std::string path = str_cat("(?://", kAuthority, segments, "|/(?:", kPathCharacter, "+",
                                   segments, ")?|", first, segments, ")?");
  return str_cat(uri(), "|", uri_tail(path));
}

// Returns the regular expression of a format, or an empty text.
std::string expression_of(std::string_view format) {
  std::string date = str_cat("(?:", kYear, "-", kMonthAndDay, "|", kLeapYear, "-02-29)");
  if (format == "date") return date;
  if (format == "time") return std::string(kTime);
  if (format == "date-time") return str_cat(date, "T", kTime);
  if (format == "duration")
    return absl::StrReplaceAll(as_piece(kDuration), {{"TIME", as_piece(kDurationTime)}});
  if (format == "uuid") return std::string(kUuid);
  if (format == "ipv4") return str_cat(kOctet, "(?:\\.", kOctet, "){3}");
  if (format == "ipv6") return ipv6();
  if (format == "email" || format == "idn-email") return std::string(kEmail);
  if (format == "hostname" || format == "idn-hostname") return std::string(kHostname);
  if (format == "uri" || format == "iri") return uri();
  if (format == "uri-reference" || format == "iri-reference") return uri_reference();
  if (format == "byte") return std::string(kBase64);
  if (format == "json-pointer") return std::string(kJsonPointer);
  if (format == "relative-json-pointer") {
    return str_cat("(?:0|[1-9][0-9]{0,8})(?:#|", kJsonPointer, ")");
  }
  return "";
}

}  // namespace

absl::StatusOr<std::optional<Dfa>> format_dfa(std::string_view format, AutomatonBudget* budget) {
  if (format == "regex" || format == "uri-template") {
    return invalid_argument(quoted(format), " is not supported");
  }
  const std::string expression = expression_of(format);
  if (expression.empty()) return std::nullopt;
  absl::StatusOr<Dfa> dfa = regex_dfa(expression, budget);
  if (!dfa.ok()) return dfa.status();
  return std::optional<Dfa>(*std::move(dfa));
}

}  // namespace deltaserve::grammar
