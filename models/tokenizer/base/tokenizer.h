// Converts text to token ids and back, and knows the bytes of each token. The file is a
// sentencepiece model, to which the settings of its folder may add tokens, or the tokenizer.json of
// Hugging Face.
//
// Special tokens mark the structure of a conversation. Of a sentencepiece model these are all
// control pieces ("</s>"), the user-defined pieces and added tokens that look like a marker
// ("<|user|>": an angle bracket at both ends), and those that the settings name; of a
// tokenizer.json the added tokens that are special, that look like a marker, or that the settings
// name. Those that only look like a marker have a text when they are generated, the others none.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/vocabulary.h"

namespace deltaserve {

// A part of a rendered conversation.
struct TextPart {
  std::string_view text;  // valid UTF-8
  bool trusted = false;   // special tokens in it are found
};

enum class SpecialTokens : uint8_t { kKeep, kSkip };

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Encodes a raw prompt without the ids that surround it. `text` should be valid UTF-8. Of a
  // sentencepiece model, the added tokens and those that the settings name are found in it, as by
  // transformers; other control pieces are plain text, and user-defined pieces match as single
  // tokens. A tokenizer.json finds all its added tokens.
  //
  // Errors: INVALID_ARGUMENT if a tokenizer.json has no token for a part of the text and no unknown
  // token; RESOURCE_EXHAUSTED if an expression of it takes too long on the text, or if a
  // sentencepiece model needs too much memory for a text that cannot be cut. Encoding and decoding
  // take at most 24 bytes of memory for each byte of the text, and end when the work is not wanted
  // any more (models/base/cancellation.h).
  virtual absl::StatusOr<std::vector<int32_t>> encode(std::string_view text) const = 0;
  // Works like encode(), but special tokens in the text are text, too.
  absl::StatusOr<std::vector<int32_t>> encode_as_text(std::string_view text) const;
  // Encodes the joined text of the parts in the same way. Special tokens within trusted text (and
  // not across its borders) are found, the longest at each place; no other text gives a special
  // token, while added tokens that are not special are found everywhere. The text between them is
  // encoded across the borders of parts, so that trust changes nothing else.
  //
  // If a sentencepiece model puts a space before every text ("add_dummy_prefix"), each text between
  // special tokens gets one; without TokenizerSettings::legacy only a text at the very beginning
  // does.
  virtual absl::StatusOr<std::vector<int32_t>> encode_parts(
      std::span<const TextPart> parts) const = 0;

  // Returns how many of the first ids of encode(text) cannot change if more text follows. `text`
  // must be valid UTF-8. There may be more of them; errors are as of encode().
  virtual absl::StatusOr<size_t> final_ids(std::string_view text) const = 0;
  // Returns the same number for encode_as_text().
  virtual absl::StatusOr<size_t> final_ids_as_text(std::string_view text) const = 0;

  // Returns the text of `tokens`; invalid UTF-8 becomes U+FFFD. Ids that no token has are skipped.
  // RESOURCE_EXHAUSTED as encode(), or if the text has more than limits::kDecodedBytes.
  virtual absl::StatusOr<std::string> decode(const std::vector<int32_t>& tokens,
                                             SpecialTokens special) const = 0;

  // Returns the kind of the file, "sentencepiece" or "tokenizer.json".
  virtual std::string_view kind() const = 0;
  // Returns the number above all ids, those of added tokens included.
  virtual int32_t size() const = 0;
  // Returns the number above the ids of the pieces that the model itself has.
  virtual int32_t num_pieces() const = 0;
  // Returns the id of a piece or added token such as "</s>", or -1.
  virtual int32_t piece_id(std::string_view piece) const = 0;
  // Returns the piece as the file spells it ("▁the", "<0x0A>"); empty if no piece has the id.
  virtual std::string piece(int32_t id) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  // Returns whether the file itself decides which tokens surround a text prompt; then settings such
  // as add_bos_token have no effect. ids_before() and ids_after() are these tokens.
  virtual bool decides_surroundings() const = 0;
  const std::vector<int32_t>& ids_before() const { return ids_before_; }
  const std::vector<int32_t>& ids_after() const { return ids_after_; }
  // Returns one sentence for each oddity of the file.
  const std::vector<std::string>& warnings() const { return warnings_; }

 protected:
  static absl::Status text_too_long();

  Vocabulary vocabulary_;
  std::vector<int32_t> ids_before_;
  std::vector<int32_t> ids_after_;
  std::vector<std::string> warnings_;
};

// Puts the tokenizer's surrounding tokens around the ids of a text prompt, and `bos` before them if
// it is not negative.
void surround(const Tokenizer& tokenizer, int32_t bos, std::vector<int32_t>* ids);

}  // namespace deltaserve
