// Text to token ids and back: a sentencepiece model file, and a table of each token's bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/vocabulary.h"

namespace deltaserve {

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  // INVALID_ARGUMENT with one sentence when the file is not a sentencepiece model.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> load(const std::string& path);
  ~Tokenizer();

  // No BOS or EOS is added. `text` must be valid UTF-8; control pieces in it are plain text, while
  // the model's user-defined pieces match as single tokens.
  std::vector<int32_t> encode(std::string_view text) const;
  // The text of `tokens`; invalid UTF-8 becomes U+FFFD. Ids outside the vocabulary are skipped.
  std::string decode(const std::vector<int32_t>& tokens) const;

  int32_t size() const;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // The id of a piece such as "</s>", or -1.
  int32_t piece_id(std::string_view piece) const;
  // The piece as the model spells it ("▁the", "<0x0A>").
  std::string piece(int32_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  Vocabulary vocabulary_;
};

}  // namespace deltaserve
