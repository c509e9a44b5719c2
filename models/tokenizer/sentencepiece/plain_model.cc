#include "models/tokenizer/sentencepiece/plain_model.h"

#include <unordered_set>

#include "models/base/text.h"
#include "models/tokenizer/sentencepiece/proto_fields.h"
#include "models/tokenizer/sentencepiece/token_finder.h"

namespace deltaserve {
namespace {

// ---- The part of sentencepiece_model.proto that special pieces need

constexpr uint64_t kPiecesField = 1;
constexpr uint64_t kNormalizerField = 3;
constexpr uint64_t kSelfTestField = 4;

struct ProtoPiece {
  std::string text;
  uint64_t type = 1;
};

enum ProtoPieceType : uint64_t {
  kUnknownType = 2,
  kControlType = 3,
  kUserDefinedType = 4,
  kByteType = 6
};

ProtoPiece read_piece(std::string_view message) {
  ProtoPiece piece;
  ProtoFields field(message);
  while (field.next()) {
    if (field.is_bytes(1)) piece.text = field.bytes();
    if (field.is_integer(3)) piece.type = field.enumerator();
  }
  return piece;
}

void append_varint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

}  // namespace

bool puts_space_before(std::string_view model_bytes) {
  bool puts = true;  // the schema's default
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (!field.is_bytes(kNormalizerField)) continue;
    ProtoFields normalizer(field.bytes());
    while (normalizer.next()) {
      if (normalizer.is_integer(3)) puts = normalizer.integer() != 0;
    }
  }
  return puts;
}

absl::StatusOr<PlainModel> make_plain_model(std::string_view model_bytes,
                                            std::span<const std::string> special_pieces) {
  const std::unordered_set<std::string_view> named(special_pieces.begin(), special_pieces.end());
  PlainModel plain;
  int32_t id = 0;
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (field.is_bytes(kSelfTestField)) continue;  // its texts may expect special pieces
    if (!field.is_bytes(kPiecesField)) {
      plain.bytes += field.whole();
      continue;
    }
    const ProtoPiece piece = read_piece(field.bytes());
    const bool is_named = named.contains(piece.text);
    const bool is_special = is_named || piece.type == kControlType ||
                            (piece.type == kUserDefinedType && is_marker(piece.text));
    if (is_named && piece.type == kByteType) {
      return invalid_argument("the special piece ", quoted(piece.text), " stands for a byte");
    }
    if (is_special) plain.special.emplace_back(piece.text, id);
    ++id;
    if (!is_special || piece.type == kControlType || piece.type == kUnknownType) {
      plain.bytes += field.whole();
      continue;
    }
    plain.is_changed = true;
    std::string changed(field.bytes());
    changed += {"\x18\x03", 2};  // type; the last of several fields is used
    plain.bytes.push_back('\x0a');
    append_varint(changed.size(), &plain.bytes);
    plain.bytes += changed;
  }
  return plain;
}

std::string without_space_before(std::string_view model_bytes) {
  // This adds another normalizer message; the fields of several are merged.
  return str_cat(model_bytes, std::string_view("\x1a\x02\x18\x00", 4));
}

}  // namespace deltaserve
