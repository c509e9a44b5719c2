// Text to token ids and back: a sentencepiece model file, and a table of each token's bytes.
//
// Special pieces mark the structure of a conversation: all control pieces ("</s>"), the
// user-defined pieces that look like a marker ("<|user|>": an angle bracket at both ends), and
// those a caller names.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/vocabulary.h"

namespace deltaserve {

// A part of a rendered conversation.
struct TextPart {
  std::string_view text;  // valid UTF-8
  bool trusted = false;   // special pieces in it become tokens
};

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  // `special_pieces` are special besides those that are by themselves; ones that the model does not
  // have are ignored, as they cannot come up.
  // INVALID_ARGUMENT with one sentence when the file is not a sentencepiece model, or when a
  // special piece stands for a byte.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> load(
      const std::string& path, std::span<const std::string> special_pieces = {});
  ~Tokenizer();

  // No BOS or EOS is added. `text` must be valid UTF-8; control pieces in it are plain text, while
  // the model's user-defined pieces match as single tokens.
  std::vector<int32_t> encode(std::string_view text) const;
  // The tokens of the parts' joined text, no BOS or EOS added. Special pieces within trusted text
  // (and not across its borders) become their tokens, the longest at each place; no other token is
  // special, whatever is written. The text between them is encoded across the borders of parts, so
  // that trust changes nothing else. Where the model puts a space before every text
  // ("add_dummy_prefix"), one is put only before a text that does not begin with a special piece,
  // and none after special pieces: as Hugging Face's LlamaTokenizer does with legacy=False.
  std::vector<int32_t> encode_parts(std::span<const TextPart> parts) const;
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
