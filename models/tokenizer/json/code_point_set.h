// A set of code points as sorted ranges, for the classes of expressions.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace deltaserve::tokenizer_json {

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

class CodePointSet {
 public:
  struct Range {
    char32_t first;
    char32_t last;
  };

  CodePointSet() = default;
  CodePointSet(char32_t first, char32_t last) : ranges_{{first, last}} {}
  // Takes the code points where membership changes, rising; none below the first is a member.
  static CodePointSet from_boundaries(std::span<const uint32_t> boundaries);
  static CodePointSet from_codes(std::vector<char32_t> codes);  // in any order

  void add(const CodePointSet& other);
  void intersect(const CodePointSet& other);
  void complement();

  bool contains(char32_t code) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;  // rising, with a gap between neighbours
};

// A set with one bit a code point, for tests that run once a character of a text.
class CodePointBits {
 public:
  explicit CodePointBits(const CodePointSet& set);
  bool contains(char32_t code) const { return (words_[code / 64] >> (code % 64) & 1) != 0; }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace deltaserve::tokenizer_json
