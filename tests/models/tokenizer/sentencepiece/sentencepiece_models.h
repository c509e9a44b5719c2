// Makes small sentencepiece models, field by field.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

enum class TestPiece : char {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};
enum class TestKind : char { kUnigram = 1, kBpe = 2, kWords = 3, kCharacters = 4 };

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// Returns a field of a message: an integer, or bytes with their length.
inline std::string int_field(uint64_t number, uint64_t value) {
  return varint(number << 3) + varint(value);
}
inline std::string bytes_field(uint64_t number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

inline std::string piece(std::string_view text, float score, TestPiece type = TestPiece::kNormal) {
  std::string number(sizeof score, '\0');
  std::memcpy(number.data(), &score, sizeof score);
  return bytes_field(1, bytes_field(1, text) + varint(2 << 3 | 5) + number +
                            int_field(3, static_cast<uint64_t>(type)));
}

// Returns the pieces of all bytes.
inline std::string byte_pieces() {
  std::string pieces;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    const std::string name = {'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
    pieces += piece(name, 0, TestPiece::kByte);
  }
  return pieces;
}

// These are the choices of a model beside its pieces.
struct ModelChoices {
  TestKind kind = TestKind::kUnigram;
  bool byte_fallback = false;
  bool space_behind = false;
  bool dummy_space = false;
  bool drop_extra_spaces = false;
  bool mark_spaces = true;
  std::string character_map = {};

  std::string bytes() const {
    return bytes_field(2, int_field(3, static_cast<uint64_t>(kind)) +
                              int_field(24, space_behind ? 1 : 0) +
                              int_field(35, byte_fallback ? 1 : 0)) +
           bytes_field(3, bytes_field(2, character_map) + int_field(3, dummy_space ? 1 : 0) +
                              int_field(4, drop_extra_spaces ? 1 : 0) +
                              int_field(5, mark_spaces ? 1 : 0));
  }
};

// Compiles a map of characters as the library does: a double array, and the replacements.
class CharacterMap {
 public:
  using Rules = std::map<std::string, std::string>;

  static std::string compile(const Rules& rules) { return CharacterMap(rules).bytes_; }

 private:
  static constexpr size_t kUnits = 8192;

  explicit CharacterMap(const Rules& rules) : rules_(rules) {
    used_.insert(0);
    place(0, "");
    const uint32_t trie_bytes = kUnits * sizeof(uint32_t);
    bytes_.resize(sizeof trie_bytes + trie_bytes);
    std::memcpy(bytes_.data(), &trie_bytes, sizeof trie_bytes);
    std::memcpy(bytes_.data() + sizeof trie_bytes, units_.data(), trie_bytes);
    bytes_ += replacements_;
  }

  // Places what is below a node. A unit has its label in bits 0 to 7, bit 8 where a key ends there,
  // and from bit 10 on the distance to its children; a value has bit 31.
  void place(uint32_t at, const std::string& prefix) {
    std::set<uint8_t> labels;
    for (const auto& [key, to] : rules_) {
      if (key.starts_with(prefix) && key != prefix) {
        labels.insert(static_cast<uint8_t>(key[prefix.size()]));
      }
    }
    const auto own = rules_.find(prefix);
    std::set<uint32_t> taken;
    uint32_t base = 0;
    do {
      ++base;
      taken.clear();
      for (const uint8_t label : labels) taken.insert(base ^ label);
      taken.insert(base);
    } while (std::any_of(taken.begin(), taken.end(),
                         [this](uint32_t place) { return used_.contains(place); }));
    used_.insert(taken.begin(), taken.end());
    units_[at] |= (at ^ base) << 10;
    if (own != rules_.end()) {
      units_[at] |= 0x100;
      units_[base] = static_cast<uint32_t>(replacements_.size()) | 0x80000000u;
      replacements_ += own->second + '\0';
    }
    for (const uint8_t label : labels) {
      units_[base ^ label] = label;
      place(base ^ label, prefix + static_cast<char>(label));
    }
  }

  const Rules& rules_;
  std::set<uint32_t> used_;
  std::vector<uint32_t> units_ = std::vector<uint32_t>(kUnits);
  std::string replacements_;
  std::string bytes_;
};

}  // namespace deltaserve
