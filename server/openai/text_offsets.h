// Computes the offsets at which tokens begin in the text that a client gets, in characters.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sequence/text_emitter.h"
#include "models/tokenizer/base/tokenizer.h"

namespace deltaserve {

// Counts the characters of an answer as its tokens come: bytes that are not UTF-8 become U+FFFD as
// in the answer itself.
class OffsetCounter {
 public:
  // The answer begins after this many characters.
  explicit OffsetCounter(int64_t characters = 0, IllFormed ill_formed = IllFormed::kPart)
      : repair_(ill_formed), characters_(characters) {}

  // Says what becomes of ill-formed bytes from now on.
  void replace_each(IllFormed ill_formed) { repair_.replace_each(ill_formed); }
  // Returns the offset of the character that has the first byte of the next token. A token without
  // bytes has the offset of the next character.
  int64_t next(std::string_view bytes);

 private:
  void append(std::string_view bytes);

  Utf8Repair repair_;
  int64_t characters_;  // that are complete
  std::string scratch_;
};

// A prompt as it is repeated before its answer.
struct EchoedPrompt {
  std::string text;
  std::vector<int64_t> offsets;  // of its tokens in `text`
};

// Returns the offset of each token in its text: `text` is what the client sent, and `ids` are its
// tokens. A token that does not occur in the text, such as BOS, has the offset of the next.
std::vector<int64_t> offsets_in_text(std::string_view text, const std::vector<int32_t>& ids,
                                     const Tokenizer& tokenizer);

// Makes the text of a prompt that was sent as token ids.
absl::StatusOr<EchoedPrompt> echo_ids(const std::vector<int32_t>& ids, SpecialTokens special,
                                      const Tokenizer& tokenizer);

}  // namespace deltaserve
