#include "models/tokenizer/sentencepiece/bpe.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/bpe_merges.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

using tokenizer_json::character_bytes;

constexpr size_t kRowSymbols = 4096;     // longer rows are merged where they can be cut
constexpr int32_t kOther = -1;           // a character that is in no piece
constexpr size_t kLongestCharacter = 4;  // in bytes

bool is_one_character(std::string_view text) {
  return !text.empty() && character_bytes(text[0]) == text.size();
}

class Bpe final : public SentencePieceEncoder {
 public:
  Bpe(const SentencePieces& pieces, SentencePieceNormalizer normalizer)
      : normalizer_(std::move(normalizer)),
        unknown_(pieces),
        size_(static_cast<int32_t>(pieces.pieces.size())),
        merges_(pieces.pieces.size() * 2) {
    std::vector<ScoredPiece> merged;
    for (size_t id = 0; id < pieces.pieces.size(); ++id) {
      const ScoredPiece& piece = pieces.pieces[id];
      if (piece.type == PieceType::kUserDefined) {
        longest_user_defined_ = std::max(longest_user_defined_, piece.text.size());
      }
      if (piece.type != PieceType::kNormal) continue;
      symbols_[std::string(piece.text)] = static_cast<int32_t>(id);
      if (!is_one_character(piece.text)) merged.push_back(piece);
    }
    std::stable_sort(merged.begin(), merged.end(),
                     [](const ScoredPiece& a, const ScoredPiece& b) { return a.score > b.score; });
    for (const ScoredPiece& piece : merged) add_characters(piece.text);
    const float* score_before = nullptr;
    for (const ScoredPiece& piece : merged) {
      // The library merges pieces of equal score from the left, in any order of pieces.
      const bool has_rank = score_before != nullptr && *score_before == piece.score;
      if (add_merges(piece.text, has_rank)) score_before = &piece.score;
    }
    merges_.know_neighbours();
  }

  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  class Writer;

  void add_characters(std::string_view piece);
  bool add_merges(std::string_view piece, bool has_rank);
  int32_t symbol_of(std::string_view character) const {
    const auto symbol = symbols_.find(as_piece(character));
    return symbol == symbols_.end() ? kOther : symbol->second;
  }

  SentencePieceNormalizer normalizer_;
  UnknownText unknown_;
  size_t longest_user_defined_ = 0;
  int32_t size_;                            // ids from here on represent characters without a piece
  std::vector<std::string> without_piece_;  // those characters
  // Pieces and characters of pieces, with the library's spelling of spaces.
  absl::flat_hash_map<std::string, int32_t> symbols_;
  tokenizer_json::BpeMerges merges_;
};

// Gives a number to characters of pieces that are not pieces themselves.
void Bpe::add_characters(std::string_view piece) {
  int32_t before = kOther;
  for (size_t at = 0; at < piece.size(); at += character_bytes(piece[at])) {
    const std::string_view character = piece.substr(at, character_bytes(piece[at]));
    const int32_t next_number = size_ + static_cast<int32_t>(without_piece_.size());
    const auto [symbol, is_new] = symbols_.try_emplace(std::string(character), next_number);
    if (is_new) without_piece_.emplace_back(character);
    if (before != kOther) merges_.add_neighbours(before, symbol->second);
    before = symbol->second;
  }
}

// Adds all pairs of symbols that make a piece. They have one rank, that of the piece, or the last
// one that was given if `has_rank`. Returns false if there is no such pair.
bool Bpe::add_merges(std::string_view piece, bool has_rank) {
  const int32_t whole = symbols_.at(as_piece(piece));
  bool found = false;
  for (size_t at = character_bytes(piece[0]); at < piece.size(); at += character_bytes(piece[at])) {
    const auto left = symbols_.find(as_piece(piece.substr(0, at)));
    const auto right = symbols_.find(as_piece(piece.substr(at)));
    if (left == symbols_.end() || right == symbols_.end()) continue;
    if (found || has_rank) {
      merges_.add_equal(left->second, right->second, whole);
    } else {
      merges_.add(left->second, right->second, whole);
    }
    found = true;
  }
  return found;
}

// Turns a text into rows of symbols, and these into ids.
class Bpe::Writer {
 public:
  Writer(const Bpe& bpe, std::string_view text, std::vector<int32_t>* ids)
      : bpe_(bpe),
        most_symbols_(text.size() + limits::kTextGrowthBytes),
        text_(bpe.normalizer_, text),
        ids_(bpe.unknown_, ids) {}

  absl::Status run() {
    while (status_.ok()) {
      status_ = text_.fill(std::max(bpe_.longest_user_defined_, kLongestCharacter));
      const std::string_view rest = text_.ahead();
      if (rest.empty()) break;
      text_.skip(take(rest));
    }
    flush();
    return status_;
  }

 private:
  // Takes the first symbol of a text and returns its bytes.
  size_t take(std::string_view rest) {
    const auto user_defined = bpe_.normalizer_.user_defined().longest_prefix(rest);
    if (user_defined.value >= 0) {
      flush();
      ids_.put(user_defined.value);
      return user_defined.bytes;
    }
    const std::string_view character = rest.substr(0, character_bytes(rest[0]));
    add(character);
    return character.size();
  }

  void add(std::string_view character) {
    const int32_t symbol = bpe_.symbol_of(character);
    if (symbol == kOther) {
      flush();
      ids_.put_unknown(character);
      return;
    }
    if (row_.size() >= kRowSymbols && bpe_.merges_.are_separate(row_.back(), symbol)) flush();
    if (row_.size() >= most_symbols_) {
      status_ = absl::ResourceExhaustedError(
          "the text becomes far longer when it is normalized, and it cannot be cut then");
    }
    reserve_sparingly(row_.size() + 1, &row_);
    row_.push_back(symbol);
  }

  // Merges the symbols of the row.
  void flush() {
    if (row_.empty() || !status_.ok()) return;
    std::vector<int32_t> merged;
    status_ = bpe_.merges_.merge(row_, {}, &merged);
    row_.clear();
    for (const int32_t id : merged) {
      if (id < bpe_.size_) {
        ids_.put(id);
      } else {
        ids_.put_unknown(bpe_.without_piece_[static_cast<size_t>(id - bpe_.size_)]);
      }
    }
  }

  const Bpe& bpe_;
  const size_t most_symbols_;  // of a row
  NormalizedText text_;
  IdWriter ids_;
  std::vector<int32_t> row_;
  absl::Status status_;
};

absl::Status Bpe::encode(std::string_view text, std::vector<int32_t>* ids) const {
  return Writer(*this, text, ids).run();
}

}  // namespace

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_bpe(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer) {
  for (const ScoredPiece& piece : pieces.pieces) {
    if (piece.type == PieceType::kUnused || piece.text.empty()) return nullptr;
    const bool is_symbol =
        piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined;
    // A character that is a control piece has the id of that piece.
    if (!is_symbol && is_one_character(piece.text)) return nullptr;
  }
  return std::make_unique<const Bpe>(pieces, std::move(normalizer));
}

}  // namespace deltaserve
