#include "models/text_splitter.h"

#include <cstdint>
#include <optional>

namespace deltaserve {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, a space inside pieces

// Walks the fields of one protocol buffer message.
class ProtoFields {
 public:
  explicit ProtoFields(std::string_view bytes) : rest_(bytes) {}

  // False at the end or at bytes that are no field; ok() tells which.
  bool next() {
    if (rest_.empty()) return false;
    const std::optional<uint64_t> tag = varint();
    ok_ = tag.has_value() && read_value(*tag & 7);
    number_ = tag.value_or(0) >> 3;
    return ok_;
  }

  bool ok() const { return ok_; }
  uint64_t number() const { return number_; }
  uint64_t integer() const { return integer_; }      // of a varint field
  std::string_view bytes() const { return bytes_; }  // of a length-delimited field

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
  uint64_t integer_ = 0;
  std::string_view bytes_;
};

// What of sentencepiece_model.proto decides about cutting, with the schema's defaults.
struct ModelFlags {
  bool bpe = false;
  bool suffix_spaces = false;
  bool character_map = false;
  bool add_dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool mark_spaces = true;
};

bool read_trainer(std::string_view message, ModelFlags* flags) {
  ProtoFields field(message);
  while (field.next()) {
    if (field.number() == 3) flags->bpe = field.integer() == 2;
    if (field.number() == 24) flags->suffix_spaces = field.integer() != 0;
  }
  return field.ok();
}

bool read_normalizer(std::string_view message, ModelFlags* flags) {
  ProtoFields field(message);
  while (field.next()) {
    if (field.number() == 2) flags->character_map = !field.bytes().empty();
    if (field.number() == 3) flags->add_dummy_prefix = field.integer() != 0;
    if (field.number() == 4) flags->remove_extra_spaces = field.integer() != 0;
    if (field.number() == 5) flags->mark_spaces = field.integer() != 0;
  }
  return field.ok();
}

std::optional<ModelFlags> read_flags(std::string_view message) {
  ModelFlags flags;
  ProtoFields field(message);
  while (field.next()) {
    if (field.number() == 2 && !read_trainer(field.bytes(), &flags)) return std::nullopt;
    if (field.number() == 3 && !read_normalizer(field.bytes(), &flags)) return std::nullopt;
  }
  return field.ok() ? std::optional(flags) : std::nullopt;
}

// Spaces of a piece all stand at its beginning, as marks.
bool begins_with_its_spaces(std::string_view piece) {
  while (piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) == std::string_view::npos &&
         piece.find(' ') == std::string_view::npos;
}

bool is_plain(char c) {
  return c > ' ' && c < 0x7f;
}

}  // namespace

TextSplitter::TextSplitter(std::string_view model_bytes, const SentencePieceModel& model) {
  const std::optional<ModelFlags> flags = read_flags(model_bytes);
  if (!flags.has_value() || !flags->bpe || flags->suffix_spaces || flags->character_map ||
      flags->remove_extra_spaces || !flags->mark_spaces) {
    return;
  }
  // A space that were unknown could join an unknown character before it.
  const int32_t space = model.piece_id(kSpaceMark);
  if (space < 0 || model.kind(space) != PieceKind::kText) return;
  for (int32_t id = 0; id < model.size(); ++id) {
    if (!begins_with_its_spaces(model.piece(id))) return;
  }
  can_split_ = true;
  drop_space_ = flags->add_dummy_prefix;
}

std::vector<std::string_view> TextSplitter::split(std::string_view text, size_t part_bytes) const {
  std::vector<std::string_view> parts;
  while (can_split_ && text.size() > part_bytes + 1) {
    size_t cut = text.find(' ', part_bytes);
    while (cut != std::string_view::npos && cut + 1 < text.size() &&
           !(cut > 0 && is_plain(text[cut - 1]) && is_plain(text[cut + 1]))) {
      cut = text.find(' ', cut + 1);
    }
    if (cut == std::string_view::npos || cut + 1 >= text.size()) break;
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(drop_space_ ? cut + 1 : cut);
  }
  parts.push_back(text);
  return parts;
}

}  // namespace deltaserve
