#include "models/tokenizer/json/byte_alphabet.h"

#include <array>
#include <charconv>

#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr int kSpellings = 0x144;  // the highest spelling is U+0143

constexpr bool is_printable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char16_t, 256> spelling{};
  std::array<int16_t, kSpellings> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int code = is_printable(byte) ? byte : next++;
    alphabet.spelling[static_cast<size_t>(byte)] = static_cast<char16_t>(code);
    alphabet.byte[static_cast<size_t>(code)] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t spelled_byte(uint8_t byte) {
  return kAlphabet.spelling[byte];
}

int byte_spelled_by(char32_t code) {
  return code < kSpellings ? kAlphabet.byte[code] : -1;
}

std::string spelled_bytes(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_character(spelled_byte(static_cast<uint8_t>(byte)), &text);
  return text;
}

std::optional<std::string> bytes_spelled_by(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const int byte = byte_spelled_by(c.code);
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    i += c.bytes;
  }
  return bytes;
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
  std::string_view digits = token.substr(3, 2);
  if (digits[0] == '+') digits.remove_prefix(1);  // as Rust reads numbers
  int value = -1;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  const bool all = error == std::errc() && end == digits.data() + digits.size();
  return all && digits[0] != '-' ? value : -1;
}

}  // namespace deltaserve::tokenizer_json
