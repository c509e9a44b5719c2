// Converts text to token ids and back, and knows the bytes of each token. The file is a
// sentencepiece model or the tokenizer.json of Hugging Face.
//
// Control tokens mark the structure of a conversation. Of a sentencepiece model these are all
// control pieces ("</s>"), the user-defined pieces that look like a marker ("<|user|>": an angle
// bracket at both ends), and those a caller names; of a tokenizer.json the added tokens that are
// special, that look like a marker, or that a caller names.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/tokenizer/vocabulary.h"

namespace deltaserve {

// A part of a rendered conversation.
struct TextPart {
  std::string_view text;  // valid UTF-8
  bool trusted = false;   // special pieces in it become special tokens
};

enum class SpecialTokens : uint8_t { kKeep, kSkip };

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  // Loads a file; its first character says of which kind it is. `special_pieces` are control tokens
  // in addition to those that the file marks; names that it does not have are ignored, because they
  // cannot occur. NOT_FOUND if there is no file. INVALID_ARGUMENT with one sentence if the file is
  // of neither kind, has something that is not supported, or a special piece stands for a byte.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> load(
      const std::string& path, std::span<const std::string> special_pieces = {});
  virtual ~Tokenizer() = default;

  // Encodes text without the ids that surround a prompt. In a sentencepiece model, control pieces
  // in it are plain text, while user-defined pieces match as single tokens; a tokenizer.json finds
  // all its added tokens. `text` should be valid UTF-8.
  //
  // Errors, of a tokenizer.json only: INVALID_ARGUMENT if it has no token for a part of the text,
  // nor one for the unknown; RESOURCE_EXHAUSTED if an expression of it takes too long on the text.
  virtual absl::StatusOr<std::vector<int32_t>> encode(std::string_view text) const = 0;
  // Encodes the joined text of the parts in the same way. Control tokens within trusted text (and
  // not across its borders) become their ids, the longest at each place; no other text gives a
  // control token. The text between them is encoded across the borders of parts, so that trust
  // changes nothing else.
  //
  // If a sentencepiece model puts a space before every text ("add_dummy_prefix"), one is put only
  // before a text that does not begin with a special piece, and none after special pieces, as
  // Hugging Face's LlamaTokenizer does with legacy=False.
  virtual absl::StatusOr<std::vector<int32_t>> encode_parts(
      std::span<const TextPart> parts) const = 0;
  // Returns how many of the ids of encode(text), from the first, no text behind `text` can change.
  // `text` must be valid UTF-8. There may be more of them; errors are as of encode().
  virtual absl::StatusOr<size_t> final_ids(std::string_view text) const = 0;
  // Returns the text of `tokens`; invalid UTF-8 becomes U+FFFD. Ids that no token has are skipped.
  // RESOURCE_EXHAUSTED as encode().
  virtual absl::StatusOr<std::string> decode(const std::vector<int32_t>& tokens,
                                             SpecialTokens special) const = 0;

  // Returns the kind of the file, "sentencepiece" or "tokenizer.json".
  virtual std::string_view kind() const = 0;
  // Returns the number above all ids.
  virtual int32_t size() const = 0;
  // Returns the id of a piece such as "</s>", or -1.
  virtual int32_t piece_id(std::string_view piece) const = 0;
  // Returns the piece as the file spells it ("▁the", "<0x0A>"); empty where nobody has the id.
  virtual std::string piece(int32_t id) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  // Says whether the file itself decides what surrounds a text prompt, so that settings such as
  // add_bos_token do not. ids_before() and ids_after() are what it wants there.
  virtual bool decides_surroundings() const = 0;
  const std::vector<int32_t>& ids_before() const { return ids_before_; }
  const std::vector<int32_t>& ids_after() const { return ids_after_; }
  // Returns one sentence for each oddity of the file.
  const std::vector<std::string>& warnings() const { return warnings_; }

 protected:
  Vocabulary vocabulary_;
  std::vector<int32_t> ids_before_;
  std::vector<int32_t> ids_after_;
  std::vector<std::string> warnings_;
};

// Puts around the ids of a text prompt what the tokenizer wants there, and before that `bos`, if it
// is not negative.
void surround(const Tokenizer& tokenizer, int32_t bos, std::vector<int32_t>* ids);

}  // namespace deltaserve
