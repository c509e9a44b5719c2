// The pieces of a sentencepiece model, and how ids are written for text that has none of them.
// Private to models/tokenizer/.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/sentencepiece/model_flags.h"

namespace deltaserve {

// The types of the schema.
enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct ScoredPiece {
  std::string_view text;  // in the bytes of the file
  float score = 0;
  PieceType type = PieceType::kNormal;
};

// The pieces by id, and what the model does with text that has no piece.
struct SentencePieces {
  std::vector<ScoredPiece> pieces;
  ModelFlags flags;
  int32_t unknown = 0;
  std::array<int32_t, 256> bytes{};  // the ids of bytes, where flags.byte_fallback is set

  // Reads the contents of a model file, which outlive the object. Returns nullopt if they are
  // malformed, or a piece is not UTF-8 or has a zero byte, or its score is not finite.
  static std::optional<SentencePieces> read(std::string_view model_bytes);

  // Returns the user-defined pieces, which are found in a text before everything else.
  tokenizer_json::ByteTrie user_defined() const;
};

// The members of SentencePieces that writing ids needs.
struct UnknownText {
  explicit UnknownText(const SentencePieces& pieces)
      : byte_fallback(pieces.flags.byte_fallback), unknown(pieces.unknown), bytes(pieces.bytes) {}

  bool byte_fallback;
  int32_t unknown;
  std::array<int32_t, 256> bytes;
};

// Appends ids. Characters without a piece are bytes, or one unknown token where they follow each
// other.
class IdWriter {
 public:
  IdWriter(const UnknownText& unknown, std::vector<int32_t>* ids) : unknown_(unknown), ids_(ids) {}

  void put(int32_t id) {
    append(id);
    after_unknown_ = false;
  }
  void put_unknown(std::string_view character);

 private:
  void append(int32_t id) {
    reserve_sparingly(ids_->size() + 1, ids_);
    ids_->push_back(id);
  }

  const UnknownText& unknown_;
  std::vector<int32_t>* const ids_;
  bool after_unknown_ = false;
};

}  // namespace deltaserve
