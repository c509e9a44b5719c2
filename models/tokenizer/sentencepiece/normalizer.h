// The text that a sentencepiece model makes of a text before it looks for pieces: characters are
// replaced by the model's map, spaces are spelled as it wants them, and one of its own may stand in
// front or behind. The text is made as it is needed, so a long one is never there as a whole.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/json/precompiled_map.h"
#include "models/tokenizer/sentencepiece/pieces.h"

namespace deltaserve {

// Constant after construction, and thread-safe.
class SentencePieceNormalizer {
 public:
  // Makes the normalizer of a model. Returns nullopt if the model's map of characters is malformed.
  static std::optional<SentencePieceNormalizer> make(const SentencePieces& pieces);

  // Returns the user-defined pieces, which the normalizer leaves as they are.
  const tokenizer_json::ByteTrie& user_defined() const { return user_defined_; }

 private:
  friend class NormalizedText;

  // A part of a text stands for so many bytes from its beginning.
  struct Unit {
    std::string_view text;
    size_t bytes = 0;
  };
  Unit first_unit(std::string_view text) const;

  tokenizer_json::ByteTrie user_defined_;
  std::shared_ptr<const tokenizer_json::PrecompiledMap> map_;  // null: there is none
  std::string_view space_;                                     // how a space is spelled
  bool drops_extra_spaces_ = false;
  bool space_before_ = false;
  bool space_behind_ = false;
};

// One text that is normalized from its beginning to its end. Both arguments outlive the object.
// Thread safety: one thread at a time.
class NormalizedText {
 public:
  NormalizedText(const SentencePieceNormalizer& rules, std::string_view text)
      : rules_(rules), rest_(text), after_space_(rules.drops_extra_spaces_) {}

  // Makes ahead() have `least` bytes, or all that are left. Not OK: the work is not wanted any more
  // (check_wanted).
  absl::Status fill(size_t least);
  // Returns what follows; it holds until the next fill().
  std::string_view ahead() const { return std::string_view(buffer_).substr(begin_); }
  void skip(size_t bytes) { begin_ += bytes; }

 private:
  absl::Status take_unit();
  void write(std::string_view text);
  void write_space();
  void write_held_spaces();
  void end();

  const SentencePieceNormalizer& rules_;
  std::string_view rest_;  // what is not normalized yet
  std::string buffer_;
  size_t begin_ = 0;        // what lies before it in the buffer has been skipped
  size_t held_spaces_ = 0;  // written only if something follows
  bool after_space_;
  bool began_ = false;
  bool over_ = false;
};

}  // namespace deltaserve
