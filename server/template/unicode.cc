#include "server/template/unicode.h"

#include <algorithm>
#include <iterator>

#include "server/template/case_table.h"
#include "server/template/long_case_table.h"
#include "server/template/unicode_classes.h"

namespace deltaserve {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// Assigned characters beyond ASCII for which str.isprintable is false: categories Cc, Cf, Co, Cs,
// Zl, Zp, Zs.
constexpr CodeRange kUnprintable[] = {
    {0x80, 0xa0},       {0xad, 0xad},       {0x600, 0x605},      {0x61c, 0x61c},
    {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},      {0x8e2, 0x8e2},
    {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},    {0x2028, 0x202f},
    {0x205f, 0x2064},   {0x2066, 0x206f},   {0x3000, 0x3000},    {0xd800, 0xf8ff},
    {0xfeff, 0xfeff},   {0xfff9, 0xfffb},   {0x110bd, 0x110bd},  {0x110cd, 0x110cd},
    {0x13430, 0x13438}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},  {0xe0001, 0xe0001},
    {0xe0020, 0xe007f}, {0xf0000, 0xffffd}, {0x100000, 0x10fffd}};

// Returns the place where a range with `code` must be in a table sorted by `first`.
template <class Range, size_t kSize>
const Range* find_range(const Range (&table)[kSize], char32_t code) {
  const Range* after =
      std::upper_bound(std::begin(table), std::end(table), code,
                       [](char32_t value, const Range& range) { return value < range.first; });
  if (after == std::begin(table)) return nullptr;
  const Range* range = after - 1;
  return code <= range->last ? range : nullptr;
}

template <size_t kSize>
char32_t map_case(const CaseRange (&table)[kSize], char32_t code) {
  const CaseRange* range = find_range(table, code);
  if (range == nullptr || (code - range->first) % range->stride != 0) return code;
  return static_cast<char32_t>(static_cast<int32_t>(code) + range->offset);
}

char32_t single_upper(char32_t code) {
  if (code < 0x80) return code >= 'a' && code <= 'z' ? code - 32 : code;
  return map_case(kUpperCase, code);
}

char32_t single_lower(char32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  return map_case(kLowerCase, code);
}

// Appends the text of a table and returns true if it has the character.
template <size_t kSize>
bool append_from(const CaseText (&table)[kSize], char32_t code, std::string* text) {
  const auto* place =
      std::lower_bound(std::begin(table), std::end(table), code,
                       [](const CaseText& entry, char32_t value) { return entry.code < value; });
  if (place == std::end(table) || place->code != code) return false;
  *text += place->text;
  return true;
}

template <size_t kSize>
bool is_in(const CodeRange (&table)[kSize], char32_t code) {
  return find_range(table, code) != nullptr;
}

bool is_ascii_digit(char32_t code) {
  return code >= '0' && code <= '9';
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

}  // namespace

Character character_at(std::string_view text, size_t offset) {
  const auto lead = static_cast<unsigned char>(text[offset]);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - offset < bytes) return {kReplacement, 1};
  char32_t code = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if (!is_continuation(text[offset + i])) return {kReplacement, 1};
    code = code << 6 | (static_cast<unsigned char>(text[offset + i]) & 0x3fu);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (overlong || surrogate || code > 0x10ffff) return {kReplacement, 1};
  return {code, bytes};
}

size_t character_bytes_before(std::string_view text, size_t end) {
  for (size_t bytes = 2; bytes <= 4 && bytes <= end; ++bytes) {
    if (is_continuation(text[end - bytes])) continue;
    return character_at(text.substr(0, end), end - bytes).bytes == bytes ? bytes : 1;
  }
  return 1;
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); i += character_at(text, i).bytes) ++count;
  return count;
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    if (character.code == kReplacement && character.bytes == 1) return false;
    i += character.bytes;
  }
  return true;
}

void append_utf8(char32_t code, std::string* text) {
  const auto tail = [&](int shift) {
    text->push_back(static_cast<char>(0x80 | (code >> shift & 0x3f)));
  };
  if (code < 0x80) {
    text->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text->push_back(static_cast<char>(0xc0 | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    text->push_back(static_cast<char>(0xe0 | code >> 12));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xf0 | code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_space(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13) || (code >= 28 && code <= 31);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_printable(char32_t code) {
  if (code < 0x80) return code >= ' ' && code != 0x7f;
  return find_range(kUnprintable, code) == nullptr;
}

bool is_alphabetic(char32_t code) {
  if (code < 0x80) return single_upper(code) != code || single_lower(code) != code;
  return is_in(kAlphabetic, code);
}

bool is_decimal(char32_t code) {
  return is_ascii_digit(code) || (code >= 0x80 && is_in(kDecimal, code));
}

bool is_digit_character(char32_t code) {
  return is_ascii_digit(code) || (code >= 0x80 && is_in(kDigit, code));
}

bool is_numeric(char32_t code) {
  return is_ascii_digit(code) || (code >= 0x80 && is_in(kNumeric, code));
}

bool is_title_letter(char32_t code) {
  return code >= 0x80 && is_in(kTitleLetters, code);
}

bool is_upper_letter(char32_t code) {
  if (is_in(kSingleUpperLetters, code)) return true;
  const bool is_long = code == 0x130;  // the only one whose lower case has several characters
  return (is_long || single_lower(code) != code) && !is_title_letter(code);
}

bool is_lower_letter(char32_t code) {
  if (is_in(kSingleLowerLetters, code)) return true;
  std::string upper;
  if (code >= 0x80 && append_from(kLongUpperCase, code, &upper)) return !is_title_letter(code);
  return single_upper(code) != code && !is_title_letter(code);
}

void append_upper(char32_t code, std::string* text) {
  if (code < 0x80 || !append_from(kLongUpperCase, code, text))
    append_utf8(single_upper(code), text);
}

void append_lower(char32_t code, std::string* text) {
  if (code < 0x80 || !append_from(kLongLowerCase, code, text))
    append_utf8(single_lower(code), text);
}

void append_title(char32_t code, std::string* text) {
  if (code < 0x80 || !append_from(kTitleCase, code, text)) append_upper(code, text);
}

void append_folded(char32_t code, std::string* text) {
  if (code < 0x80 || !append_from(kFoldedCase, code, text)) append_lower(code, text);
}

Span trimmed(std::string_view text, bool left, bool right) {
  Span span{0, text.size()};
  while (left && span.begin < span.end) {
    const Character character = character_at(text, span.begin);
    if (!is_space(character.code)) break;
    span.begin += character.bytes;
  }
  while (right && span.end > span.begin) {
    const size_t bytes = character_bytes_before(text, span.end);
    if (!is_space(character_at(text, span.end - bytes).code)) break;
    span.end -= bytes;
  }
  return span;
}

}  // namespace deltaserve
