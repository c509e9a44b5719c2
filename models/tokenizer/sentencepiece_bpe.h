// Byte pair encoding as sentencepiece computes it, for long texts: the library's memory is some 200
// bytes for each byte of a text that cannot be cut (text_splitter.h), this one's at most 24.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "models/tokenizer/json/bpe_merges.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/sentencepiece_wrapper.h"

namespace deltaserve {

// Thread safety: const methods may be called from any thread at once.
class SentencePieceBpe {
 public:
  // `model_bytes` is the file from which `model` was parsed. Returns null where texts may be
  // encoded by the library only: the model is not BPE, its normalizer changes more than spaces, it
  // has pieces that are not used, or two pieces with the same score.
  static std::unique_ptr<const SentencePieceBpe> make(std::string_view model_bytes,
                                                      const SentencePieceModel& model);

  // Appends the ids of SentencePieceModel::encode(text). `text` must be valid UTF-8. Not OK: the
  // work is not wanted any more (check_wanted).
  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const;

 private:
  class Writer;

  explicit SentencePieceBpe(size_t merges) : merges_(merges) {}
  bool add_pieces(std::string_view model_bytes, const SentencePieceModel& model);
  void add_characters(std::string_view piece);
  void add_merges(std::string_view piece);
  int32_t symbol_of(std::string_view character) const;

  bool space_before_ = false;
  bool byte_fallback_ = false;
  int32_t unknown_ = 0;
  int32_t size_ = 0;  // ids from here on stand for characters that have no piece
  int32_t byte_ids_[256] = {};
  std::vector<std::string> without_piece_;  // those characters
  // Pieces and characters of pieces, with the library's spelling of spaces.
  absl::flat_hash_map<std::string, int32_t> symbols_;
  tokenizer_json::ByteTrie user_defined_;
  tokenizer_json::BpeMerges merges_;
};

}  // namespace deltaserve
