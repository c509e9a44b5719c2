// A character map as sentencepiece compiles it: a trie of darts-clone and the replacements.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve::tokenizer_json {

class PrecompiledMap {
 public:
  // Takes the base64 text of tokenizer.json. INVALID_ARGUMENT with one clause.
  static absl::StatusOr<std::shared_ptr<const PrecompiledMap>> parse(std::string_view base64);
  // Takes the bytes that a sentencepiece model holds. INVALID_ARGUMENT with one clause.
  static absl::StatusOr<std::shared_ptr<const PrecompiledMap>> parse_bytes(std::string_view bytes);

  struct Found {
    std::string_view replacement;
    size_t bytes = 0;  // of the text
  };
  // Returns what the longest prefix of `text` that the trie knows maps to.
  std::optional<Found> find_longest(std::string_view text) const;

  // Appends the normalised text to *out. A grapheme cluster of fewer than 6 bytes is replaced whole
  // by what its shortest known prefix maps to, as the reference does; everything else goes
  // character by character.
  absl::Status normalize(std::string_view text, std::string* out) const;

 private:
  // Returns what the shortest prefix of `text` that the trie knows maps to.
  std::optional<std::string_view> find(std::string_view text) const;
  // Walks along a text, and calls take(replacement, bytes) for every prefix that the trie knows,
  // the shortest first, until it returns false.
  template <class Take>
  void walk(std::string_view text, Take take) const;

  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends with NUL
};

}  // namespace deltaserve::tokenizer_json
