// The model of tokenizer.json: it encodes the pieces of a text.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "models/tokenizer/json/part_reader.h"

namespace deltaserve::tokenizer_json {

// The entries of a model: contents and their ids, which may have holes.
class ModelVocabulary {
 public:
  // Reads {"content": id, ...} under the key `key`; errors go to the reader's status.
  void read(std::string_view key, PartReader* part);
  // Adds an entry; of equal contents the last counts. `id` is in limits::kVocabSize.
  void add(std::string_view content, int32_t id);

  int32_t id(std::string_view content) const;  // -1: there is none
  std::string_view content(int32_t id) const;  // empty if no entry has the id
  bool has(int32_t id) const;                  // for any id
  size_t entries() const { return ids_.size(); }
  int32_t end() const { return static_cast<int32_t>(contents_.size()); }  // above all ids

  // Marks an entry that must not come out of untrusted text.
  void mark_special(int32_t id);
  bool is_special(int32_t id) const { return special_[static_cast<size_t>(id)]; }
  const std::vector<bool>& special_bits() const { return special_; }  // one an id

 private:
  absl::flat_hash_map<std::string, int32_t> ids_;
  std::vector<std::string> contents_;
  std::vector<bool> has_;
  std::vector<bool> special_;
};

// Says whether special entries may come out of a piece; kTrusted is for text that a template or the
// operator wrote.
enum class PieceTrust : uint8_t { kPlain, kTrusted };

// Thread safety: const methods may be called from any thread at once.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  // Appends the ids of a piece. It is not empty, and valid UTF-8 or, for a model that keeps bytes,
  // any bytes. Returns INVALID_ARGUMENT if the model has no token for the piece and no unknown
  // token.
  virtual absl::Status encode(std::string_view piece, PieceTrust trust,
                              std::vector<int32_t>* ids) const = 0;
  // Does the same only for the ids that text after the piece cannot change; there may be none.
  virtual absl::Status encode_open(std::string_view piece, PieceTrust trust,
                                   std::vector<int32_t>* ids) const;
  // Ends loading, once special entries are marked.
  virtual void finish() {}
  // Returns the number from which `tokenizers` numbers added tokens.
  virtual size_t entries() const { return vocabulary_.entries(); }

  ModelVocabulary& vocabulary() { return vocabulary_; }
  const ModelVocabulary& vocabulary() const { return vocabulary_; }

 protected:
  ModelVocabulary vocabulary_;
};

// Reads the model. If its type is absent, its keys show it. With `bytes` the pieces of a BPE model
// are bytes, not their spelling. Null after an error, which goes to the reader's status.
std::unique_ptr<PieceModel> read_piece_model(PartReader part, bool bytes);
// Returns "BPE", "Unigram", "WordPiece", "WordLevel", or what else the model calls itself.
std::string piece_model_type(const PartReader& part);

// Each of these reads the keys of its type.
std::unique_ptr<PieceModel> read_bpe(PartReader* part, bool bytes);
std::unique_ptr<PieceModel> read_unigram(PartReader* part);
std::unique_ptr<PieceModel> read_word_piece(PartReader* part);
std::unique_ptr<PieceModel> read_word_level(PartReader* part);

}  // namespace deltaserve::tokenizer_json
