// The properties of characters as in `tokenizers`. That library mixes versions of Unicode: its
// expressions have 16, its digits and lower case 17, its normal forms 9, its punctuation 8.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "models/tokenizer/json/code_point_set.h"

namespace deltaserve::tokenizer_json {

// ---- Expressions

// Returns the set that \p{name} names, without regard to case, spaces, '-' and '_': a general
// category, a script, a class of POSIX or one of a few properties. Returns nullopt if there is
// none.
std::optional<CodePointSet> property_set(std::string_view name);
// Returns whether the name means \w.
bool property_is_word(std::string_view name);
CodePointSet space_set();  // \s
CodePointSet word_set();   // \w, and what \b asks
// Returns \w inside [...], which lacks six characters of Latin-1 that \w has elsewhere.
CodePointSet class_word_set();
CodePointSet digit_set();  // \d

// Returns the two or three characters that `code` equals under (?i); empty if there are none.
std::u32string_view case_sequence(char32_t code);
// Returns every character that equals `sequence` under (?i).
std::u32string characters_for_sequence(std::u32string_view sequence);

// ---- Tests of a single character

bool is_space(char32_t code);        // White_Space
bool is_numeric(char32_t code);      // as Digits splits
bool is_punctuation(char32_t code);  // as Punctuation and BertPreTokenizer split
bool is_word(char32_t code);         // as Whitespace splits and single_word asks
bool is_accent(char32_t code);       // as StripAccents removes
bool is_bert_accent(char32_t code);
bool is_bert_removed(char32_t code);
bool is_bert_space(char32_t code);
uint32_t script_group(char32_t code);  // of UnicodeScripts; 0: any

// Says whether the character is a letter or digit of ASCII or an ideograph, which no normalizer
// joins with another such character.
inline bool is_letter_or_ideograph(char32_t code) {
  return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') ||
         (code >= 'a' && code <= 'z') || (code >= 0x4E00 && code <= 0x9FFF);
}

void append_lowercase(char32_t code, std::string* text);

// Returns the size in bytes of the grapheme cluster at the beginning of `text`, which must not be
// empty. The result is exact for clusters of fewer than 6 bytes; for longer ones it is only certain
// that they have more.
size_t grapheme_bytes(std::string_view text);

}  // namespace deltaserve::tokenizer_json
