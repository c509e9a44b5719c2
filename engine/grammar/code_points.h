// Sets of Unicode characters and their UTF-8 bytes. Surrogates are not characters here.
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

// Reads one character of `text` at *position and moves past it. Returns nullopt at the end or if
// the bytes are not UTF-8.
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
  // Returns all characters that are not in this set.
  CodePointSet negated() const;
  // Returns the characters as ranges: ascending, disjoint, without surrogates.
  std::vector<CodePointRange> ranges() const;

 private:
  std::vector<CodePointRange> ranges_;  // in the order in which they were added
};

// All byte sequences whose byte i is in bytes[i].
struct Utf8Sequence {
  struct ByteRange {
    uint8_t first;
    uint8_t last;
  };
  int size = 0;
  std::array<ByteRange, 4> bytes{};
};
// Returns the sequences that together are exactly the UTF-8 of `range`, which holds no surrogates.
std::vector<Utf8Sequence> utf8_sequences(CodePointRange range);

}  // namespace deltaserve::grammar
