// The decoders of tokenizer.json, which make text of tokens.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/vocabulary.h"
#include "models/tokenizer/json/part_reader.h"
#include "models/tokenizer/json/token_list.h"

namespace deltaserve::tokenizer_json {

// One step of decoding.
struct DecoderStep {
  // Changes the list of tokens.
  std::function<absl::Status(TokenList* tokens)> all;
  // Changes a token that is in the middle of a text, as far as it does not depend on the others;
  // the result may be a part of a character.
  std::function<std::string(std::string_view token)> middle;
};

class Decoder {
 public:
  // Makes the decoder of a file without one, which joins tokens by spaces.
  Decoder();
  // Reads a decoder; errors go to the reader's status.
  static Decoder read(PartReader part);

  // Returns the text of tokens, valid UTF-8. Returns RESOURCE_EXHAUSTED if it became too long, or
  // an expression took too many steps. Another error means that the work is no longer wanted
  // (check_wanted).
  absl::StatusOr<std::string> decode(TokenList tokens) const;
  // Returns the bytes that a token adds to a text that has others before and after it.
  std::string middle(std::string_view token) const;
  // Says what the bytes of middle() become where they are not UTF-8. Beside tokens of bytes the
  // library replaces complete characters of the run, too, for which a stream cannot wait.
  IllFormed ill_formed() const { return ill_formed_; }

 private:
  std::vector<DecoderStep> steps_;
  IllFormed ill_formed_ = IllFormed::kPart;
};

}  // namespace deltaserve::tokenizer_json
