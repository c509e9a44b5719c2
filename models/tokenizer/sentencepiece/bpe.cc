#include "models/tokenizer/sentencepiece/bpe.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/bpe_merges.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

using tokenizer_json::character_bytes;
using tokenizer_json::LastPairs;

constexpr size_t kRowSymbols = 4096;     // longer rows are merged where they can be cut
constexpr int32_t kOther = -1;           // a character that is in no piece
constexpr size_t kLongestCharacter = 4;  // in bytes
// All cuts of a piece are tried, so its length counts twice.
constexpr size_t kLongestPiece = 1024;  // in bytes

// A control, unknown or byte piece: the library looks its text up before that of others.
struct ReservedPiece {
  int32_t id = 0;
  PieceType type = PieceType::kControl;
  std::string text;
};

bool is_reserved(PieceType type) {
  return type == PieceType::kControl || type == PieceType::kUnknown || type == PieceType::kByte;
}

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
      if (piece.type != PieceType::kNormal && piece.type != PieceType::kUnused) continue;
      symbols_[std::string(piece.text)] = static_cast<int32_t>(id);
      if (!is_one_character(piece.text)) merged.push_back(piece);
      if (piece.type == PieceType::kUnused) {
        unused_.resize(pieces.pieces.size());
        unused_[id] = true;
      }
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
    add_reserved(pieces);
  }

  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  absl::Status encode_without_unused(std::string_view text, std::vector<int32_t>* ids) const;

  class SymbolWriter;
  class Merger;

  void add_characters(std::string_view piece);
  bool add_merges(std::string_view piece, bool has_rank);
  void add_reserved(const SentencePieces& pieces);
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
  absl::flat_hash_map<int32_t, ReservedPiece> reserved_;  // by the symbol that has the same text
  // Has the bits of pieces that are made but never written: the two symbols stand for one from
  // which the library could last have made it, wherever that was in the text. Empty if there are
  // none.
  std::vector<bool> unused_;
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

// Finds the symbols that have the text of a reserved piece.
void Bpe::add_reserved(const SentencePieces& pieces) {
  absl::flat_hash_map<std::string_view, int32_t> user_defined;
  for (size_t id = 0; id < pieces.pieces.size(); ++id) {
    if (pieces.pieces[id].type != PieceType::kUserDefined) continue;
    user_defined[pieces.pieces[id].text] = static_cast<int32_t>(id);
  }
  for (size_t id = 0; id < pieces.pieces.size(); ++id) {
    const ScoredPiece& piece = pieces.pieces[id];
    if (!is_reserved(piece.type)) continue;
    const ReservedPiece reserved{static_cast<int32_t>(id), piece.type, std::string(piece.text)};
    if (is_one_character(piece.text)) add_characters(piece.text);
    const int32_t symbol = symbol_of(piece.text);
    if (symbol != kOther) reserved_[symbol] = reserved;
    const auto own = user_defined.find(piece.text);
    if (own != user_defined.end()) reserved_[own->second] = reserved;
  }
}

// Writes the ids of symbols.
class Bpe::SymbolWriter {
 public:
  SymbolWriter(const Bpe& bpe, std::vector<int32_t>* ids) : bpe_(bpe), ids_(bpe.unknown_, ids) {}

  void put(int32_t symbol) {
    const auto reserved = bpe_.reserved_.find(symbol);
    if (reserved != bpe_.reserved_.end()) {
      put_reserved(reserved->second);
    } else if (symbol < bpe_.size_) {
      ids_.put(symbol);
    } else {
      put_unknown(bpe_.without_piece_[static_cast<size_t>(symbol - bpe_.size_)]);
    }
  }
  void put_unknown(std::string_view character) { ids_.put_unknown(character); }

  // The library gives no ids to a text with a control piece.
  bool has_control_piece() const { return has_control_piece_; }

 private:
  void put_reserved(const ReservedPiece& piece) {
    has_control_piece_ = has_control_piece_ || piece.type == PieceType::kControl;
    piece.type == PieceType::kUnknown ? put_unknown(piece.text) : ids_.put(piece.id);
  }

  const Bpe& bpe_;
  IdWriter ids_;
  bool has_control_piece_ = false;
};

// Turns a text into rows of symbols, and merges them. Unused pieces are written as if they were
// used.
class Bpe::Merger {
 public:
  // `pairs` may be null.
  Merger(const Bpe& bpe, std::string_view text, LastPairs* pairs, SymbolWriter* symbols)
      : bpe_(bpe),
        most_symbols_(text.size() + limits::kTextGrowthBytes),
        text_(bpe.normalizer_, text),
        pairs_(pairs),
        symbols_(*symbols) {}

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
      symbols_.put(user_defined.value);
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
      symbols_.put_unknown(character);
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
    status_ = bpe_.merges_.merge(row_, {}, place_, pairs_, &merged);
    place_ += row_.size();
    row_.clear();
    for (const int32_t symbol : merged) symbols_.put(symbol);
  }

  const Bpe& bpe_;
  const size_t most_symbols_;  // of a row
  NormalizedText text_;
  LastPairs* const pairs_;
  SymbolWriter& symbols_;
  std::vector<int32_t> row_;
  uint64_t place_ = 0;  // of the row, in symbols
  absl::Status status_;
};

absl::Status Bpe::encode(std::string_view text, std::vector<int32_t>* ids) const {
  if (!unused_.empty()) return encode_without_unused(text, ids);
  const size_t before = ids->size();
  SymbolWriter writer(*this, ids);
  absl::Status status = Merger(*this, text, nullptr, &writer).run();
  if (writer.has_control_piece()) ids->resize(before);
  return status;
}

// Works like encode(), for models that have unused pieces.
absl::Status Bpe::encode_without_unused(std::string_view text, std::vector<int32_t>* ids) const {
  LastPairs pairs(unused_);
  std::vector<int32_t> merged;
  SymbolWriter first(*this, &merged);
  absl::Status status = Merger(*this, text, &pairs, &first).run();
  if (!status.ok() || first.has_control_piece()) return status;
  const size_t before = ids->size();
  SymbolWriter writer(*this, ids);
  std::vector<int32_t> open;  // symbols that are still to be written, the next one last
  for (const int32_t id : merged) {
    for (open.push_back(id); !open.empty() && status.ok(); status = check_wanted(1)) {
      const int32_t symbol = open.back();
      open.pop_back();
      const LastPairs::Pair* pair = reserved_.contains(symbol) ? nullptr : pairs.of(symbol);
      if (pair != nullptr) {
        open.insert(open.end(), {pair->right, pair->left});
      } else if (symbol == unknown_.unknown) {
        writer.put_unknown("");  // runs of it, which may now be longer
      } else {
        writer.put(symbol);
      }
    }
  }
  if (writer.has_control_piece()) ids->resize(before);
  return status;
}

}  // namespace

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_bpe(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer) {
  for (const ScoredPiece& piece : pieces.pieces) {
    if (piece.text.size() > kLongestPiece) return nullptr;
  }
  return std::make_unique<const Bpe>(pieces, std::move(normalizer));
}

}  // namespace deltaserve
