// Reads and writes the characters of UTF-8 text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace deltaserve::tokenizer_json {

struct Character {
  char32_t code = 0;
  size_t bytes = 0;
};

// Returns the number of bytes of the character that begins with `lead`, which must begin one.
inline size_t character_bytes(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// Returns the character at `at`, which must be below text.size() and at a boundary of valid UTF-8.
inline Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const size_t bytes = character_bytes(text[at]);
  if (bytes == 1) return {byte(0), 1};
  if (bytes == 2) return {(byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu), 2};
  if (bytes == 3) return {(byte(0) & 0xFu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {
      (byte(0) & 7u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu),
      4};
}

// Returns the character that ends before `end`, which must be above 0 and at a boundary.
inline Character character_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return character_at(text, at);
}

// Returns the number of characters of valid UTF-8 text.
size_t character_count(std::string_view text);
void append_character(char32_t code, std::string* text);
std::u32string characters_of(std::string_view text);  // of valid UTF-8

// Appends `bytes` to `text`; each maximal ill-formed part becomes one U+FFFD, as the WHATWG's
// decoder does.
void append_repaired(std::string_view bytes, std::string* text);
bool is_utf8(std::string_view bytes);
// Returns the length of the well-formed character with which `bytes`, which must not be empty,
// begin; 0: they do not begin with one.
size_t well_formed_bytes(std::string_view bytes);

}  // namespace deltaserve::tokenizer_json
