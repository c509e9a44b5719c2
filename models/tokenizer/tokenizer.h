// Converts text to token ids and back with a sentencepiece model and the tokens that were added to
// it, and knows the bytes of each token.
//
// Special tokens mark the structure of a conversation: all control pieces ("</s>"), the
// user-defined pieces and added tokens that look like a marker (an angle bracket at both ends), and
// those that the settings name.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/base/limits.h"
#include "models/tokenizer/tokenizer_settings.h"
#include "models/tokenizer/vocabulary.h"

namespace deltaserve {

// A part of a rendered conversation.
struct TextPart {
  std::string_view text;  // valid UTF-8
  bool trusted = false;   // special pieces in it become special tokens
};

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  // Loads the model. Special tokens of the settings that neither the model nor added_tokens have
  // get the next ids, as in transformers, or are ignored beyond `most_ids`. An added token may have
  // the id of a piece, which it then replaces. INVALID_ARGUMENT with one sentence if the file is
  // not a sentencepiece model or a special piece stands for a byte.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> load(const std::string& path,
                                                         const TokenizerSettings& settings = {},
                                                         int64_t most_ids = limits::kVocabSize.max);
  ~Tokenizer();

  // Encodes a raw prompt without adding BOS or EOS. `text` must be valid UTF-8. The tokens that the
  // settings name are found in it, as by transformers; other control pieces are plain text, and the
  // model's user-defined pieces match as single tokens.
  std::vector<int32_t> encode(std::string_view text) const;
  // Works like encode(), but special tokens in the text are text, too.
  std::vector<int32_t> encode_as_text(std::string_view text) const;
  // Encodes the joined text of the parts without adding BOS or EOS. Special tokens within trusted
  // text (and not across its borders) are found, the longest at each place; no other text gives a
  // special token, while added tokens that are not special are found everywhere. The text between
  // them is encoded across the borders of parts, so that trust changes nothing else.
  //
  // If the model puts a space before every text ("add_dummy_prefix"), each text between special
  // tokens gets one; without TokenizerSettings::legacy only a text at the very beginning does.
  std::vector<int32_t> encode_parts(std::span<const TextPart> parts) const;
  // Returns the text of `tokens`; invalid UTF-8 becomes U+FFFD. Ids outside the vocabulary are
  // skipped.
  std::string decode(const std::vector<int32_t>& tokens) const;

  // Returns the number of ids, those of added tokens included.
  int32_t size() const;
  // Returns the number of pieces that the model itself has.
  int32_t num_pieces() const;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // Returns the id of a piece or added token such as "</s>", or -1.
  int32_t piece_id(std::string_view piece) const;
  // Returns the piece as the model spells it ("▁the", "<0x0A>").
  std::string piece(int32_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  Vocabulary vocabulary_;
};

}  // namespace deltaserve
