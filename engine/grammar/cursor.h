// A position in a source text, for the parsers of regexes and of grammars.
#pragma once
#include <cctype>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/grammar/code_points.h"
#include "models/base/text.h"

namespace deltaserve::grammar {

// Larger numbers of a source text become this one, which exceeds every limit.
inline constexpr uint32_t kLargeNumber = 1'000'000'000;

class Cursor {
 public:
  // Starts at the beginning of `text`, which must be UTF-8.
  explicit Cursor(std::string_view text) : text_(text) {}

  bool at_end() const { return position_ >= text_.size(); }
  size_t position() const { return position_; }
  void go_to(size_t position) { position_ = position; }
  // Returns the byte `offset` ahead; '\0' past the end.
  char peek(size_t offset = 0) const {
    return position_ + offset < text_.size() ? text_[position_ + offset] : '\0';
  }
  bool starts_with(std::string_view prefix) const {
    return text_.substr(position_).starts_with(prefix);
  }
  bool take(std::string_view prefix) {
    if (!starts_with(prefix)) return false;
    position_ += prefix.size();
    return true;
  }
  // Reads one character. Must not be called at the end.
  uint32_t take_code_point() { return read_utf8(text_, &position_).value_or(0); }
  // Reads decimal digits; nullopt if there are none.
  std::optional<uint32_t> take_number() {
    if (!std::isdigit(static_cast<unsigned char>(peek()))) return std::nullopt;
    uint64_t value = 0;
    for (; std::isdigit(static_cast<unsigned char>(peek())); ++position_) {
      value = value * 10 + static_cast<uint64_t>(peek() - '0');
      if (value > kLargeNumber) value = kLargeNumber;
    }
    return static_cast<uint32_t>(value);
  }
  // Reads exactly `digits` hexadecimal digits; nullopt if there are fewer.
  std::optional<uint32_t> take_hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek(i);
      if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    position_ += digits;
    return value;
  }
  template <class... Parts>
  absl::Status error(const Parts&... parts) const {
    return invalid_argument("at byte ", position_, ": ", parts...);
  }

 private:
  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace deltaserve::grammar
