#include "models/tokenizer/json/utf8.h"

#include <algorithm>

namespace deltaserve::tokenizer_json {
namespace {

// Returns the length of the well-formed character at the beginning of `bytes`, which must not be
// empty; or 0, and then `*bad` is the length of the maximal ill-formed part.
size_t well_formed(std::string_view bytes, size_t* bad) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  *bad = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t size = character_bytes(bytes[0]);
  // E0 and F0 exclude overlong forms, ED surrogates, F4 characters beyond U+10FFFF.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return 0;
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) return 0;
    ++*bad;
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

}  // namespace

size_t character_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<uint8_t>(byte) & 0xC0) != 0x80;
  }));
}

void append_character(char32_t code, std::string* text) {
  const auto put = [text](char32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

std::u32string characters_of(std::string_view text) {
  std::u32string codes;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    codes.push_back(c.code);
    i += c.bytes;
  }
  return codes;
}

void append_repaired(std::string_view bytes, std::string* text) {
  while (!bytes.empty()) {
    size_t bad = 0;
    const size_t good = well_formed(bytes, &bad);
    if (good > 0) {
      text->append(bytes.substr(0, good));
    } else {
      text->append("\xEF\xBF\xBD");
    }
    bytes.remove_prefix(good > 0 ? good : bad);
  }
}

bool is_utf8(std::string_view bytes) {
  size_t bad = 0;
  while (!bytes.empty()) {
    const size_t good = well_formed(bytes, &bad);
    if (good == 0) return false;
    bytes.remove_prefix(good);
  }
  return true;
}

size_t well_formed_bytes(std::string_view bytes) {
  size_t bad = 0;
  return well_formed(bytes, &bad);
}

}  // namespace deltaserve::tokenizer_json
