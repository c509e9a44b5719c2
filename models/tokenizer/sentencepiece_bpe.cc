#include "models/tokenizer/sentencepiece_bpe.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "models/base/cancellation.h"
#include "models/base/text.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/model_flags.h"
#include "models/tokenizer/proto_fields.h"

namespace deltaserve {
namespace {

using tokenizer_json::ByteTrie;
using tokenizer_json::character_bytes;

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, as pieces spell a space
constexpr size_t kRowSymbols = 4096;                 // longer rows are merged where they can be cut
constexpr int32_t kOther = -1;                       // a character that is in no piece

// The types of the schema.
enum ScoredType : uint64_t {
  kNormal = 1,
  kUnknownPiece = 2,
  kUserDefined = 4,
  kUnusedPiece = 5,
  kBytePiece = 6
};

struct ScoredPiece {
  std::string_view text;
  float score = 0;
  uint64_t type = kNormal;
};

std::vector<ScoredPiece> read_pieces(std::string_view model_bytes) {
  std::vector<ScoredPiece> pieces;
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (field.number() != 1) continue;
    ScoredPiece& piece = pieces.emplace_back();
    ProtoFields inner(field.bytes());
    while (inner.next()) {
      if (inner.number() == 1) piece.text = inner.bytes();
      if (inner.number() == 2 && inner.bytes().size() == sizeof piece.score) {
        std::memcpy(&piece.score, inner.bytes().data(), sizeof piece.score);
      }
      if (inner.number() == 3) piece.type = inner.integer();
    }
  }
  return pieces;
}

bool is_one_character(std::string_view text) {
  return !text.empty() && character_bytes(text[0]) == text.size();
}

// Returns true if no two pieces that come out of a merge have one score: the library takes equal
// ones from the left, whichever they are.
bool have_an_order(const std::vector<ScoredPiece>& pieces) {
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (!(pieces[i - 1].score > pieces[i].score)) return false;
  }
  return true;
}

}  // namespace

// Turns a text into rows of symbols, and these into ids.
class SentencePieceBpe::Writer {
 public:
  Writer(const SentencePieceBpe& bpe, std::string_view text, std::vector<int32_t>* ids)
      : bpe_(bpe), text_(text), ids_(ids) {}

  absl::Status run() {
    if (text_.empty()) return absl::OkStatus();
    // The model's own space in front is taken as if it were one of the text, at place -1.
    size_t at = 0;
    if (bpe_.space_before_) at = take(at, /*before=*/true);
    while (at < text_.size() && status_.ok()) {
      status_ = check_wanted(1);
      at = take(at, /*before=*/false);
    }
    flush();
    return status_;
  }

 private:
  // Takes the next symbol and returns the place behind it. `before`: the space in front comes
  // first.
  size_t take(size_t at, bool before) {
    size_t end = at;
    const int32_t id = user_defined(at, before, &end);
    if (id >= 0) {
      flush();
      put(id);
      return end;
    }
    const std::string_view character = before ? kSpace : character_of(at);
    add(character);
    if (before) return at;
    return at + (text_[at] == ' ' ? 1 : character.size());
  }

  std::string_view character_of(size_t at) const {
    return text_[at] == ' ' ? kSpace : text_.substr(at, character_bytes(text_[at]));
  }

  // Returns the longest user-defined piece at a place, and where it ends; -1: there is none.
  int32_t user_defined(size_t at, bool before, size_t* end) const {
    const ByteTrie& trie = bpe_.user_defined_;
    if (trie.empty()) return -1;
    int32_t found = -1;
    uint32_t node = ByteTrie::kRoot;
    const auto walk = [&](std::string_view bytes) {
      for (const char byte : bytes) {
        if (node != ByteTrie::kNowhere) node = trie.step(node, byte);
      }
    };
    const auto look = [&](size_t behind) {
      if (node == ByteTrie::kNowhere || trie.value(node) < 0) return;
      found = trie.value(node);
      *end = behind;
    };
    if (before) {
      walk(kSpace);
      look(at);
    }
    while (at < text_.size() && node != ByteTrie::kNowhere) {
      const std::string_view character = character_of(at);
      walk(character);
      at += text_[at] == ' ' ? 1 : character.size();
      look(at);
    }
    return found;
  }

  void add(std::string_view character) {
    const int32_t symbol = bpe_.symbol_of(character);
    if (symbol == kOther) {
      flush();
      put_unknown(character);
      return;
    }
    if (row_.size() >= kRowSymbols && bpe_.merges_.are_separate(row_.back(), symbol)) flush();
    row_.push_back(symbol);
  }

  // Merges the symbols of the row.
  void flush() {
    if (row_.empty() || !status_.ok()) return;
    const size_t base = ids_->size();
    status_ = bpe_.merges_.merge(row_, {}, ids_);
    row_.clear();
    const auto is_piece = [&](int32_t id) { return id < bpe_.size_; };
    if (std::all_of(ids_->begin() + static_cast<ptrdiff_t>(base), ids_->end(), is_piece)) {
      after_unknown_ = false;
      return;
    }
    const std::vector<int32_t> merged(ids_->begin() + static_cast<ptrdiff_t>(base), ids_->end());
    ids_->resize(base);
    for (const int32_t id : merged) {
      if (is_piece(id)) {
        put(id);
      } else {
        put_unknown(bpe_.without_piece_[static_cast<size_t>(id - bpe_.size_)]);
      }
    }
  }

  void put(int32_t id) {
    ids_->push_back(id);
    after_unknown_ = false;
  }
  // Characters without a piece are bytes, or one unknown token where they follow each other.
  void put_unknown(std::string_view character) {
    if (bpe_.byte_fallback_) {
      for (const char byte : character) put(bpe_.byte_ids_[static_cast<uint8_t>(byte)]);
    } else if (!std::exchange(after_unknown_, true)) {
      ids_->push_back(bpe_.unknown_);
    }
  }

  const SentencePieceBpe& bpe_;
  const std::string_view text_;
  std::vector<int32_t>* const ids_;
  std::vector<int32_t> row_;
  bool after_unknown_ = false;
  absl::Status status_;
};

std::unique_ptr<const SentencePieceBpe> SentencePieceBpe::make(std::string_view model_bytes,
                                                               const SentencePieceModel& model) {
  const std::optional<ModelFlags> flags = read_model_flags(model_bytes);
  if (!flags || !flags->bpe || flags->suffix_spaces || !flags->only_marks_spaces()) return nullptr;
  std::unique_ptr<SentencePieceBpe> bpe(
      new SentencePieceBpe(static_cast<size_t>(model.size()) * 2));
  bpe->space_before_ = flags->add_dummy_prefix;
  bpe->byte_fallback_ = flags->byte_fallback;
  bpe->size_ = model.size();
  if (!bpe->add_pieces(model_bytes, model)) return nullptr;
  return bpe;
}

bool SentencePieceBpe::add_pieces(std::string_view model_bytes, const SentencePieceModel& model) {
  const std::vector<ScoredPiece> pieces = read_pieces(model_bytes);
  if (pieces.size() != static_cast<size_t>(model.size())) return false;
  std::vector<ScoredPiece> merged;
  std::vector<std::pair<std::string, int32_t>> user_defined;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const ScoredPiece& piece = pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (!tokenizer_json::is_utf8(piece.text) || piece.type == kUnusedPiece) return false;
    if (piece.type == kUnknownPiece) unknown_ = id;
    if (piece.type == kBytePiece) {
      // The library spells the bytes of a character by these names.
      if (piece.text.size() != 6) return false;
      unsigned value = 0;
      std::from_chars(piece.text.data() + 3, piece.text.data() + 5, value, 16);
      byte_ids_[value] = id;
    }
    if (piece.type == kUserDefined) user_defined.emplace_back(piece.text, id);
    if (piece.type != kNormal && piece.type != kUserDefined && is_one_character(piece.text)) {
      return false;
    }
    if (piece.type != kNormal) continue;
    symbols_[std::string(piece.text)] = id;
    if (!is_one_character(piece.text)) merged.push_back(piece);
  }
  user_defined_ = ByteTrie(std::move(user_defined));
  std::stable_sort(merged.begin(), merged.end(),
                   [](const ScoredPiece& a, const ScoredPiece& b) { return a.score > b.score; });
  if (!have_an_order(merged)) return false;
  for (const ScoredPiece& piece : merged) add_characters(piece.text);
  for (const ScoredPiece& piece : merged) add_merges(piece.text);
  merges_.know_neighbours();
  return true;
}

// Gives a number to characters of pieces that are no pieces themselves.
void SentencePieceBpe::add_characters(std::string_view piece) {
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

// Adds all pairs of symbols that make a piece. They have one rank, that of the piece.
void SentencePieceBpe::add_merges(std::string_view piece) {
  const int32_t whole = symbols_.at(as_piece(piece));
  bool is_first = true;
  for (size_t at = character_bytes(piece[0]); at < piece.size(); at += character_bytes(piece[at])) {
    const auto left = symbols_.find(as_piece(piece.substr(0, at)));
    const auto right = symbols_.find(as_piece(piece.substr(at)));
    if (left == symbols_.end() || right == symbols_.end()) continue;
    if (is_first) {
      merges_.add(left->second, right->second, whole);
    } else {
      merges_.add_equal(left->second, right->second);
    }
    is_first = false;
  }
}

int32_t SentencePieceBpe::symbol_of(std::string_view character) const {
  const auto symbol = symbols_.find(as_piece(character));
  return symbol == symbols_.end() ? kOther : symbol->second;
}

absl::Status SentencePieceBpe::encode(std::string_view text, std::vector<int32_t>* ids) const {
  return Writer(*this, text, ids).run();
}

}  // namespace deltaserve
