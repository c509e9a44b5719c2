// Iterates over the fields of one protocol buffer message.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace deltaserve {

class ProtoFields {
 public:
  explicit ProtoFields(std::string_view bytes) : rest_(bytes) {}

  // Moves to the next field. Returns false at the end or at invalid bytes; ok() tells which.
  bool next() {
    if (rest_.empty()) return false;
    whole_ = rest_;
    const std::optional<uint64_t> tag = varint();
    wire_type_ = tag.value_or(0) & 7;
    ok_ = tag.has_value() && read_value(wire_type_);
    number_ = tag.value_or(0) >> 3;
    whole_.remove_suffix(rest_.size());
    return ok_;
  }

  bool ok() const { return ok_; }
  // Says whether the field has that number and type. A known number with another type is an unknown
  // field, which parsers skip.
  bool is_integer(uint64_t number) const { return number_ == number && wire_type_ == 0; }
  bool is_bytes(uint64_t number) const { return number_ == number && wire_type_ == 2; }
  bool is_float(uint64_t number) const { return number_ == number && wire_type_ == 5; }
  uint64_t integer() const { return integer_; }  // value of an integer
  // Returns the value of an enumeration, of which parsers take 32 bits.
  uint64_t enumerator() const { return static_cast<uint32_t>(integer_); }
  std::string_view bytes() const { return bytes_; }  // value of bytes, or the four of a float
  std::string_view whole() const { return whole_; }  // the field with its tag and length

 private:
  bool read_value(uint64_t wire_type) {
    if (wire_type == 0) {
      const std::optional<uint64_t> value = varint();
      integer_ = value.value_or(0);
      return value.has_value();
    }
    uint64_t size = 0;
    if (wire_type == 1) {
      size = 8;
    } else if (wire_type == 5) {
      size = 4;
    } else if (wire_type == 2) {
      const std::optional<uint64_t> length = varint();
      if (!length.has_value()) return false;
      size = *length;
    } else {
      return false;
    }
    if (size > rest_.size()) return false;
    bytes_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view rest_;
  bool ok_ = true;
  uint64_t number_ = 0;
  uint64_t wire_type_ = 0;
  uint64_t integer_ = 0;
  std::string_view bytes_;
  std::string_view whole_;
};

}  // namespace deltaserve
