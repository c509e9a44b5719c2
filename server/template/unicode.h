// UTF-8 and the properties of characters, as in Python. Invalid UTF-8 bytes count as characters of
// one byte, so that no function reads past its text.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace deltaserve {

struct Character {
  char32_t code;  // U+FFFD if the bytes are not UTF-8
  size_t bytes;   // >= 1
};

// Returns the character at `offset` < text.size().
Character character_at(std::string_view text, size_t offset);
// Returns the number of bytes of the character that ends before `end` > 0.
size_t character_bytes_before(std::string_view text, size_t end);
size_t count_characters(std::string_view text);
bool is_utf8(std::string_view text);
void append_utf8(char32_t code, std::string* text);

// Implement str.isspace and str.isprintable.
bool is_space(char32_t code);
bool is_printable(char32_t code);
// Map one character to one character: letters whose upper case is longer, such as U+00DF, stay.
char32_t to_upper(char32_t code);
char32_t to_lower(char32_t code);

// The range [begin, end) of `text` without surrounding white space.
struct Span {
  size_t begin;
  size_t end;
};
Span trimmed(std::string_view text, bool left, bool right);

}  // namespace deltaserve
