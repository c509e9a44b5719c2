// Converts text to token ids and back with a sentencepiece model, and knows the bytes of each
// token.
//
// Special pieces mark the structure of a conversation: all control pieces ("</s>"), the
// user-defined pieces that look like a marker ("<
// user
// >": an angle bracket at both ends), and those a caller names.
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
  bool trusted = false;   // special pieces in it become special tokens
};

// Thread safety: const methods may be called from any thread at once.
class Tokenizer {
 public:
  // Loads the model. `special_pieces` are special in addition to those that the model marks; names
  // that the model does not have are ignored, because they cannot occur. INVALID_ARGUMENT with one
  // sentence if the file is not a sentencepiece model or a special piece stands for a byte.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> load(
      const std::string& path, std::span<const std::string> special_pieces = {});
  ~Tokenizer();

  // Encodes text without adding BOS or EOS. `text` must be valid UTF-8; control pieces in it are
  // plain text, while the model's user-defined pieces match as single tokens.
  std::vector<int32_t> encode(std::string_view text) const;
  // Encodes the joined text of the parts without adding BOS or EOS. Special pieces within trusted
  // text (and not across its borders) become their tokens, the longest at each place; no other text
  // gives a special token. The text between them is encoded across the borders of parts, so that
  // trust changes nothing else.
  //
  // If the model puts a space before every text ("add_dummy_prefix"), one is put only before a text
  // that does not begin with a special piece, and none after special pieces, as Hugging Face's
  // LlamaTokenizer does with legacy=False.
  std::vector<int32_t> encode_parts(std::span<const TextPart> parts) const;
  // Returns the text of `tokens`; invalid UTF-8 becomes U+FFFD. Ids outside the vocabulary are
  // skipped.
  std::string decode(const std::vector<int32_t>& tokens) const;

  int32_t size() const;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // Returns the id of a piece such as "</s>", or -1.
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
