#include "server/base/json_text.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

bool is_continuation(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

// Returns the length of the UTF-8 character that `text` begins with, 0 if it is not one.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(byte(i))) return 0;
  }
  // Overlong forms, surrogates and characters beyond U+10FFFF are not valid UTF-8.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

}  // namespace

int64_t utf8_characters(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += !is_continuation(static_cast<unsigned char>(c));
  return count;
}

void append_json_string(std::string* out, std::string_view text) {
  out->push_back('"');
  while (!text.empty()) {
    const char c = text.front();
    const size_t length = utf8_length(text);
    if (length == 0) {
      out->append("\xef\xbf\xbd");
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '"': out->append("\\\""); break;
      case '\\': out->append("\\\\"); break;
      case '\n': out->append("\\n"); break;
      case '\r': out->append("\\r"); break;
      case '\t': out->append("\\t"); break;
      default:
        if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) {
          out->append("\\u00");
          out->push_back(kHexDigits[c >> 4]);
          out->push_back(kHexDigits[c & 15]);
        } else {
          out->append(text.substr(0, length));
        }
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

void append_json_number(std::string* out, float value) {
  if (std::isnan(value) || std::isinf(value)) value = -9999;
  char digits[40];
  // The float is printed as a double: a JSON reader then has exactly its value.
  const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<double>(value)).ptr;
  out->append(digits, end);
}

void append_json_ids(std::string* out, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    if (!out->empty()) out->push_back(',');
    absl::StrAppend(out, id);
  }
}

void append_nullable_string(std::string* out, std::string_view text) {
  text.empty() ? static_cast<void>(out->append("null")) : append_json_string(out, text);
}

}  // namespace deltaserve
