// JSON text, appended piece by piece so that a long reply is never held twice.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

inline constexpr char kHexDigits[] = "0123456789abcdef";

// Appends `text` quoted. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string* out, std::string_view text);
// Appends the shortest text that reads back as exactly this float; -inf and NaN become -9999.
void append_json_number(std::string* out, float value);
// Appends "1,2,3", after a comma if *out has something already.
void append_json_ids(std::string* out, const std::vector<int32_t>& ids);
// Appends the string quoted, or null for an empty one.
void append_nullable_string(std::string* out, std::string_view text);

// Returns the number of characters of UTF-8 text.
int64_t utf8_characters(std::string_view text);

}  // namespace deltaserve
