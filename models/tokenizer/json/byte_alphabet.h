// The alphabet of GPT-2, which spells every byte as a printable character: "Ġ" is a space.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace deltaserve::tokenizer_json {

// Returns the character that spells a byte.
char32_t spelled_byte(uint8_t byte);
// Returns the byte that a character spells, or -1.
int byte_spelled_by(char32_t code);

// Spells every byte of a text.
std::string spelled_bytes(std::string_view bytes);
// Returns the bytes that valid UTF-8 text spells; nullopt if a character spells none.
std::optional<std::string> bytes_spelled_by(std::string_view text);

// Returns the byte of a token such as "<0x0A>", or -1.
int byte_of_token(std::string_view token);

}  // namespace deltaserve::tokenizer_json
