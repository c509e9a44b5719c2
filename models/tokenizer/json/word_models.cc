// The models of whole words: WordPiece cuts a word from the left, WordLevel looks up the whole
// word.
#include <algorithm>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/json/piece_model.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

absl::Status no_token(std::string_view piece, std::string_view unknown) {
  return invalid_argument("the tokenizer has no token for ", quoted(piece), ", nor its unk_token ",
                          quoted(unknown));
}

class WordPiece final : public PieceModel {
 public:
  WordPiece(ModelVocabulary vocabulary, std::string unknown, std::string prefix,
            int64_t max_characters)
      : unknown_(std::move(unknown)), max_characters_(max_characters) {
    vocabulary_ = std::move(vocabulary);
    std::vector<std::pair<std::string, int32_t>> first;
    std::vector<std::pair<std::string, int32_t>> later;
    for (int32_t id = 0; id < vocabulary_.end(); ++id) {
      std::string content(vocabulary_.content(id));
      if (vocabulary_.id(content) != id) continue;
      if (content.starts_with(prefix)) later.emplace_back(content.substr(prefix.size()), id);
      first.emplace_back(std::move(content), id);
    }
    first_ = ByteTrie(std::move(first));
    later_ = ByteTrie(std::move(later));
  }

  absl::Status encode(std::string_view piece, PieceTrust trust,
                      std::vector<int32_t>* ids) const override {
    const size_t before = ids->size();
    bool fits = !is_longer(piece);
    for (size_t begin = 0; begin < piece.size() && fits;) {
      size_t size = 0;
      const int32_t id = longest(begin == 0 ? first_ : later_, piece.substr(begin), trust, &size);
      fits = id >= 0;
      ids->push_back(id);
      begin += size;
      if (absl::Status status = check_wanted(size + 1); !status.ok()) return status;
    }
    if (fits) return absl::OkStatus();
    ids->resize(before);
    const int32_t id = vocabulary_.id(unknown_);
    if (id < 0) return no_token(piece, unknown_);
    ids->push_back(id);
    return absl::OkStatus();
  }

 private:
  // Returns true if the word has more characters than the model takes.
  bool is_longer(std::string_view piece) const {
    int64_t characters = 0;
    for (size_t i = 0; i < piece.size() && characters <= max_characters_; ++characters) {
      i += character_bytes(piece[i]);
    }
    return characters > max_characters_;
  }

  // Returns the longest entry that `text` begins with; -1: there is none.
  int32_t longest(const ByteTrie& trie, std::string_view text, PieceTrust trust,
                  size_t* size) const {
    int32_t found = -1;
    uint32_t node = trie.empty() ? ByteTrie::kNowhere : ByteTrie::kRoot;
    for (size_t i = 0; i < text.size() && node != ByteTrie::kNowhere;) {
      node = trie.step(node, text[i++]);
      const int32_t id = node == ByteTrie::kNowhere ? -1 : trie.value(node);
      if (id < 0 || (trust == PieceTrust::kPlain && vocabulary_.is_special(id))) continue;
      found = id;
      *size = i;
    }
    return found;
  }

  std::string unknown_;
  int64_t max_characters_;
  ByteTrie first_;
  ByteTrie later_;  // entries after the first, without their prefix
};

class WordLevel final : public PieceModel {
 public:
  WordLevel(ModelVocabulary vocabulary, std::string unknown) : unknown_(std::move(unknown)) {
    vocabulary_ = std::move(vocabulary);
  }

  absl::Status encode(std::string_view piece, PieceTrust trust,
                      std::vector<int32_t>* ids) const override {
    int32_t id = vocabulary_.id(piece);
    const bool left_out = id >= 0 && trust == PieceTrust::kPlain && vocabulary_.is_special(id);
    if (id < 0 || left_out) id = vocabulary_.id(unknown_);
    if (id < 0) return no_token(piece, unknown_);
    ids->push_back(id);
    return absl::OkStatus();
  }

 private:
  std::string unknown_;
};

}  // namespace

std::unique_ptr<PieceModel> read_word_piece(PartReader* part) {
  ModelVocabulary vocabulary;
  vocabulary.read("vocab", part);
  std::string unknown = part->text("unk_token");
  std::string prefix = part->text("continuing_subword_prefix");
  const int64_t max_characters = part->integer("max_input_chars_per_word", limits::kWordCharacters);
  if (!part->ok()) return nullptr;
  return std::make_unique<WordPiece>(std::move(vocabulary), std::move(unknown), std::move(prefix),
                                     max_characters);
}

std::unique_ptr<PieceModel> read_word_level(PartReader* part) {
  ModelVocabulary vocabulary;
  vocabulary.read("vocab", part);
  std::string unknown = part->text("unk_token");
  if (!part->ok()) return nullptr;
  return std::make_unique<WordLevel>(std::move(vocabulary), std::move(unknown));
}

}  // namespace deltaserve::tokenizer_json
