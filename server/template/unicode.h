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
// Implement str.isalpha, isdecimal, isdigit, isnumeric, isupper and islower for one character, and
// its category Lt.
bool is_alphabetic(char32_t code);
bool is_decimal(char32_t code);
bool is_digit_character(char32_t code);
bool is_numeric(char32_t code);
bool is_upper_letter(char32_t code);
bool is_lower_letter(char32_t code);
bool is_title_letter(char32_t code);

// Append the character in another case, which may be several characters: U+00DF becomes "SS".
void append_upper(char32_t code, std::string* text);
void append_lower(char32_t code, std::string* text);
void append_title(char32_t code, std::string* text);
void append_folded(char32_t code, std::string* text);

// The range [begin, end) of `text` without surrounding white space.
struct Span {
  size_t begin;
  size_t end;
};
Span trimmed(std::string_view text, bool left, bool right);

}  // namespace deltaserve
