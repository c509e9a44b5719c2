// Makes messages: joins parts, creates errors, and formats untrusted names and shapes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace deltaserve {

// Converts std::string_view to the type that Debian's Abseil takes, which is a different
// string_view.
template <class T>
const T& as_piece(const T& value) {
  return value;
}
inline absl::string_view as_piece(std::string_view text) {
  return {text.data(), text.size()};
}

// Works like absl::StrCat, but also takes std::string_view.
template <class... Parts>
std::string str_cat(const Parts&... parts) {
  return absl::StrCat(as_piece(parts)...);
}

// Returns INVALID_ARGUMENT with the parts joined.
template <class... Parts>
absl::Status invalid_argument(const Parts&... parts) {
  return absl::InvalidArgumentError(str_cat(parts...));
}

// Returns `status` with "<prefix>: " before its message.
inline absl::Status prefixed(std::string_view prefix, const absl::Status& status) {
  return absl::Status(status.code(), str_cat(prefix, ": ", status.message()));
}

// quoted(name) is 'name' in quotes, escaped and shortened, so that it cannot fill or garble a log
// line. It is an object, because for a function and a std::string the compiler would also look at
// std::quoted.
inline constexpr auto quoted = [](std::string_view name) {
  constexpr size_t kShown = 120;
  const bool cut = name.size() > kShown;
  return str_cat("'", absl::CHexEscape(as_piece(name.substr(0, kShown))), cut ? "..." : "", "'");
};

// Formats a shape as "[2, 3]".
inline std::string shape_text(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace deltaserve
