// Python's str.isupper and the like.
#include "server/template/text_operations.h"
#include "server/template/unicode.h"

namespace deltaserve {
namespace {

// Returns true if the text is not empty and all its characters pass.
template <class Test>
bool all_characters(std::string_view text, const Test& passes) {
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    if (!passes(character.code)) return false;
    i += character.bytes;
  }
  return !text.empty();
}

// Returns true if there are letters with a case and none has one of the wrong cases.
template <class Wanted, class Wrong>
bool has_only_case(std::string_view text, const Wanted& wanted, const Wrong& wrong) {
  bool found = false;
  const bool clean = all_characters(text, [&](char32_t code) {
    found = found || wanted(code);
    return !wrong(code);
  });
  return clean && found;
}

bool is_alphanumeric(char32_t code) {
  return is_alphabetic(code) || is_decimal(code) || is_digit_character(code) || is_numeric(code);
}

}  // namespace

bool is_upper_text(std::string_view text) {
  return has_only_case(text, is_upper_letter, [](char32_t code) {
    return is_lower_letter(code) || is_title_letter(code);
  });
}

bool is_lower_text(std::string_view text) {
  return has_only_case(text, is_lower_letter, [](char32_t code) {
    return is_upper_letter(code) || is_title_letter(code);
  });
}

bool is_title_text(std::string_view text) {
  bool inside = false;
  bool found = false;
  const bool clean = all_characters(text, [&](char32_t code) {
    const bool begins = is_upper_letter(code) || is_title_letter(code);
    const bool goes_on = is_lower_letter(code);
    if (begins ? inside : goes_on && !inside) return false;
    inside = begins || goes_on;
    found = found || inside;
    return true;
  });
  return clean && found;
}

bool is_space_text(std::string_view text) {
  return all_characters(text, is_space);
}
bool is_alphabetic_text(std::string_view text) {
  return all_characters(text, is_alphabetic);
}
bool is_alphanumeric_text(std::string_view text) {
  return all_characters(text, is_alphanumeric);
}
bool is_decimal_text(std::string_view text) {
  return all_characters(text, is_decimal);
}
bool is_digit_text(std::string_view text) {
  return all_characters(text, is_digit_character);
}
bool is_numeric_text(std::string_view text) {
  return all_characters(text, is_numeric);
}
bool is_printable_text(std::string_view text) {
  return text.empty() || all_characters(text, is_printable);
}
bool is_ascii_text(std::string_view text) {
  return text.empty() || all_characters(text, [](char32_t code) { return code < 0x80; });
}

bool is_identifier(std::string_view text) {
  bool first = true;
  return all_characters(text, [&](char32_t code) {
    const bool letter = code == '_' || is_alphabetic(code);
    return std::exchange(first, false) ? letter : letter || is_decimal(code);
  });
}

}  // namespace deltaserve
