#include "models/tokenizer/sentencepiece/pieces.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/proto_fields.h"

namespace deltaserve {
namespace {

std::optional<ScoredPiece> read_scored_piece(std::string_view message) {
  ScoredPiece piece;
  ProtoFields field(message);
  while (field.next()) {
    if (field.is_bytes(1)) piece.text = field.bytes();
    if (field.is_float(2)) {
      std::memcpy(&piece.score, field.bytes().data(), sizeof piece.score);
    }
    if (!field.is_integer(3)) continue;
    if (field.enumerator() < 1 || field.enumerator() > 6) return std::nullopt;
    piece.type = static_cast<PieceType>(field.enumerator());
  }
  // The library finds pieces of some kinds by their bytes before a zero.
  const bool good = field.ok() && tokenizer_json::is_utf8(piece.text) &&
                    piece.text.find('\0') == std::string_view::npos && std::isfinite(piece.score);
  return good ? std::optional(piece) : std::nullopt;
}

// Returns the byte of a piece such as "<0x0A>", or -1.
int byte_of_piece(std::string_view text) {
  constexpr size_t kLength = 6;
  unsigned value = 0;
  if (text.size() != kLength) return -1;
  std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  return static_cast<int>(value);
}

}  // namespace

std::optional<SentencePieces> SentencePieces::read(std::string_view model_bytes) {
  const std::optional<ModelFlags> flags = read_model_flags(model_bytes);
  if (!flags) return std::nullopt;
  SentencePieces read;
  read.flags = *flags;
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (!field.is_bytes(1)) continue;
    const std::optional<ScoredPiece> piece = read_scored_piece(field.bytes());
    if (!piece) return std::nullopt;
    const auto id = static_cast<int32_t>(read.pieces.size());
    if (piece->type == PieceType::kUnknown) read.unknown = id;
    if (piece->type == PieceType::kByte) {
      const int byte = byte_of_piece(piece->text);
      if (byte < 0) return std::nullopt;
      read.bytes[static_cast<size_t>(byte)] = id;
    }
    read.pieces.push_back(*piece);
  }
  return read;
}

tokenizer_json::ByteTrie SentencePieces::user_defined() const {
  std::vector<std::pair<std::string, int32_t>> found;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].type != PieceType::kUserDefined) continue;
    found.emplace_back(pieces[i].text, static_cast<int32_t>(i));
  }
  return tokenizer_json::ByteTrie(std::move(found));
}

void IdWriter::put_unknown(std::string_view character) {
  if (unknown_.byte_fallback) {
    for (const char byte : character) put(unknown_.bytes[static_cast<uint8_t>(byte)]);
  } else if (!std::exchange(after_unknown_, true)) {
    append(unknown_.unknown);
  }
}

}  // namespace deltaserve
