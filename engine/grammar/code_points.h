// Unicode characters: sets of them, and their UTF-8 bytes. Surrogates are no characters here.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve::grammar {

inline constexpr uint32_t kLastCodePoint = 0x10FFFF;

inline bool is_surrogate(uint32_t code_point) {
  return code_point >= 0xD800 && code_point <= 0xDFFF;
}

// Reads one character of `text` at *position and moves past it; nothing at the end or where the
// bytes are not UTF-8.
std::optional<uint32_t> read_utf8(std::string_view text, size_t* position);
void append_utf8(uint32_t code_point, std::string* text);
bool is_utf8(std::string_view text);

struct CodePointRange {
  uint32_t first;
  uint32_t last;  // inclusive
};

class CodePointSet {
 public:
  CodePointSet() = default;
  CodePointSet(std::initializer_list<CodePointRange> ranges);

  void add(uint32_t first, uint32_t last);
  void add(const CodePointSet& other);
  // All characters that are not in this set.
  CodePointSet negated() const;
  // Ascending, disjoint, without surrogates.
  std::vector<CodePointRange> ranges() const;

 private:
  std::vector<CodePointRange> ranges_;  // as added
};

// UTF-8 of a range: all sequences whose byte i lies in bytes[i].
struct Utf8Sequence {
  struct ByteRange {
    uint8_t first;
    uint8_t last;
  };
  int size = 0;
  std::array<ByteRange, 4> bytes{};
};
// The sequences that together are exactly the UTF-8 of `range`, which holds no surrogates.
std::vector<Utf8Sequence> utf8_sequences(CodePointRange range);

}  // namespace deltaserve::grammar
