#include "models/tokenizer/sentencepiece/words.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

constexpr std::string_view kWordMark = "\xe2\x96\x81";  // U+2581; a word begins with each
constexpr size_t kMostCharacterBytes = 4;               // in bytes
// A space without a piece is three bytes, and each may be a token.
constexpr size_t kMostIdsOfAByte = 4;

// Finds the ids of whole pieces.
class WholePieces {
 public:
  explicit WholePieces(const SentencePieces& pieces) {
    for (size_t id = 0; id < pieces.pieces.size(); ++id) {
      const ScoredPiece& piece = pieces.pieces[id];
      longest_ = std::max(longest_, piece.text.size());
      ids_.try_emplace(std::string(piece.text), Entry{static_cast<int32_t>(id), piece.type});
    }
  }

  size_t longest() const { return longest_; }

  // Writes the id of a text. Returns false for a control piece: the library encodes no text that
  // contains one.
  bool write(std::string_view text, IdWriter* ids) const {
    const auto found = ids_.find(as_piece(text));
    if (found == ids_.end() || found->second.type == PieceType::kUnknown) {
      ids->put_unknown(text);
      return true;
    }
    if (found->second.type == PieceType::kControl) return false;
    ids->put(found->second.id);
    return true;
  }

 private:
  struct Entry {
    int32_t id;
    PieceType type;
  };

  absl::flat_hash_map<std::string, Entry> ids_;
  size_t longest_ = kMostCharacterBytes;  // of the pieces, in bytes
};

// Takes units from the beginning of a normalized text and writes their ids, of which a map of
// characters may make many.
template <class Unit>
absl::Status write_units(const SentencePieceNormalizer& normalizer, const UnknownText& unknown,
                         std::string_view text, Unit unit, std::vector<int32_t>* ids) {
  const size_t before = ids->size();
  const size_t most = before + kMostIdsOfAByte * text.size() + limits::kTextGrowthBytes;
  NormalizedText normalized(normalizer, text);
  IdWriter writer(unknown, ids);
  for (;;) {
    absl::Status status = normalized.fill(unit.bytes_ahead());
    if (!status.ok()) return status;
    if (normalized.ahead().empty()) break;
    normalized.skip(unit.take(normalized.ahead(), &writer));
    if (ids->size() > most) {
      return absl::ResourceExhaustedError("the text becomes far longer when it is normalized");
    }
  }
  unit.end(&writer);
  if (unit.has_control_piece()) ids->resize(before);
  return absl::OkStatus();
}

std::string_view first_character(std::string_view text) {
  return text.substr(0, std::min(tokenizer_json::character_bytes(text[0]), text.size()));
}

class Characters final : public SentencePieceEncoder {
 public:
  Characters(const SentencePieces& pieces, SentencePieceNormalizer normalizer)
      : normalizer_(std::move(normalizer)), unknown_(pieces), pieces_(pieces) {}

  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const override {
    return write_units(normalizer_, unknown_, text, Unit(*this), ids);
  }

 private:
  // A character, or a user-defined piece.
  class Unit {
   public:
    explicit Unit(const Characters& model) : model_(model) {}

    size_t bytes_ahead() const { return model_.pieces_.longest(); }
    size_t take(std::string_view rest, IdWriter* ids) {
      const auto own = model_.normalizer_.user_defined().longest_prefix(rest);
      const std::string_view text =
          own.value >= 0 ? rest.substr(0, own.bytes) : first_character(rest);
      good_ = model_.pieces_.write(text, ids) && good_;
      return text.size();
    }
    void end(IdWriter*) {}
    bool has_control_piece() const { return !good_; }

   private:
    const Characters& model_;
    bool good_ = true;
  };

  SentencePieceNormalizer normalizer_;
  UnknownText unknown_;
  WholePieces pieces_;
};

class Words final : public SentencePieceEncoder {
 public:
  Words(const SentencePieces& pieces, SentencePieceNormalizer normalizer)
      : normalizer_(std::move(normalizer)), unknown_(pieces), pieces_(pieces) {}

  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const override {
    return write_units(normalizer_, unknown_, text, Unit(*this), ids);
  }

 private:
  // A word, which is held until it ends or is longer than every piece.
  class Unit {
   public:
    explicit Unit(const Words& model) : model_(model) {}

    size_t bytes_ahead() const { return kMostCharacterBytes; }
    size_t take(std::string_view rest, IdWriter* ids) {
      const std::string_view character = first_character(rest);
      if (character == kWordMark) end(ids);
      if (is_long_) {
        ids->put_unknown(character);
        return character.size();
      }
      word_ += character;
      if (word_.size() > model_.pieces_.longest()) {
        ids->put_unknown(word_);
        is_long_ = true;
      }
      return character.size();
    }
    void end(IdWriter* ids) {
      if (!is_long_ && !word_.empty()) good_ = model_.pieces_.write(word_, ids) && good_;
      word_.clear();
      is_long_ = false;
    }
    bool has_control_piece() const { return !good_; }

   private:
    const Words& model_;
    std::string word_;
    bool is_long_ = false;  // its beginning is written
    bool good_ = true;
  };

  SentencePieceNormalizer normalizer_;
  UnknownText unknown_;
  WholePieces pieces_;
};

}  // namespace

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_characters(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer) {
  return std::make_unique<const Characters>(pieces, std::move(normalizer));
}

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_words(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer) {
  return std::make_unique<const Words>(pieces, std::move(normalizer));
}

}  // namespace deltaserve
