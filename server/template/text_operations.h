// Python's string methods on texts that know their origin: every byte of a result has the trust of
// the byte it was made from.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/template/runtime.h"
#include "server/template/tainted_text.h"
#include "server/template/unicode.h"

namespace deltaserve {

// Appends `text` to `*out` character by character. replace(Character, std::string* instead) returns
// true to write `*instead` in place of the character.
template <class Replace>
void append_mapped(const TaintedText& text, const Replace& replace, TaintedText* out) {
  std::string instead;
  text.for_each_run([&](std::string_view bytes, bool trusted) {
    size_t kept = 0;
    for (size_t i = 0; i < bytes.size();) {
      const Character character = character_at(bytes, i);
      instead.clear();
      if (replace(character, &instead)) {
        out->append(bytes.substr(kept, i - kept), trusted);
        out->append(instead, trusted);
        kept = i + character.bytes;
      }
      i += character.bytes;
    }
    out->append(bytes.substr(kept), trusted);
  });
}

TaintedText upper(const TaintedText& text);
TaintedText lower(const TaintedText& text);
TaintedText casefold(const TaintedText& text);
TaintedText swapcase(const TaintedText& text);
// Implements str.capitalize: the first character is upper case, the rest lower case.
TaintedText capitalize(const TaintedText& text);
// Implements str.title: upper case after every character without a case.
TaintedText title(const TaintedText& text);
// Implements the `title` filter: upper case only after white space and ( { [ < -.
TaintedText title_words(const TaintedText& text);
// Implement str.isupper, islower, istitle, isspace, isalpha, isalnum, isdecimal, isdigit,
// isnumeric, isprintable, isascii and isidentifier.
bool is_upper_text(std::string_view text);
bool is_lower_text(std::string_view text);
bool is_title_text(std::string_view text);
bool is_space_text(std::string_view text);
bool is_alphabetic_text(std::string_view text);
bool is_alphanumeric_text(std::string_view text);
bool is_decimal_text(std::string_view text);
bool is_digit_text(std::string_view text);
bool is_numeric_text(std::string_view text);
bool is_printable_text(std::string_view text);
bool is_ascii_text(std::string_view text);
bool is_identifier(std::string_view text);

TaintedText escape_html(const TaintedText& text);
TaintedText reversed(const TaintedText& text);

// Returns where `wanted` begins in `text` at or after `from`; npos if nowhere. Time grows with the
// sum of the sizes, not with their product.
size_t find_bytes(std::string_view text, std::string_view wanted, size_t from = 0);
// Implements str.count.
int64_t count_occurrences(std::string_view text, std::string_view wanted);

enum class Padding { kBefore, kBehind, kAround };
// Pads a text to `width` characters; if it is padded on both sides, an odd character goes where
// Python's str.center puts it. The caller has checked the width; the padding has the trust of
// `fill`, which is one character.
TaintedText padded(Runtime& runtime, const TaintedText& text, const TaintedText& fill,
                   int64_t width, Padding padding);

// Removes `characters` from both ends, or white space if there are none.
TaintedText strip(Runtime& runtime, const TaintedText& text,
                  std::optional<std::string_view> characters, bool left, bool right);
// Replaces the first `count` occurrences; all if negative. Fails if the result is too large.
TaintedText replace(Runtime& runtime, const TaintedText& text, std::string_view wanted,
                    const TaintedText& replacement, int64_t count);
// Implement str.split and str.rsplit: they split at separators, or at white space if there are
// none, at most `most` times, or without limit if that is negative. A separator is not empty. They
// fail if there are too many parts.
std::vector<Span> split(Runtime& runtime, std::string_view text,
                        std::optional<std::string_view> separator, int64_t most);
std::vector<Span> split_from_right(Runtime& runtime, std::string_view text,
                                   std::optional<std::string_view> separator, int64_t most);
std::vector<Span> split_lines(Runtime& runtime, std::string_view text);

}  // namespace deltaserve
