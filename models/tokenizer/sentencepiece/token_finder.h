// Finds special and added tokens, each of which has one fixed text, in a text.
#pragma once
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

class TokenFinder {
 public:
  // Adds a token; one with the same text replaces it. A token without text is never found.
  void add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Returns the longest token that begins at text[at] and ends within `bytes` of it; null if there
  // is none. Time grows with the number of different token sizes.
  const AddedToken* match(std::string_view text, size_t at, size_t bytes) const;

  // Returns the place in an incomplete text before which later text cannot change what match()
  // finds and strips.
  size_t settled(std::string_view text) const;

 private:
  absl::flat_hash_map<std::string, AddedToken> tokens_;
  std::bitset<256> first_bytes_;
  std::vector<size_t> sizes_;  // of all tokens, falling
  bool some_strip_left_ = false;
};

// Returns true for texts with an angle bracket at both ends, as markers of roles have them.
bool is_marker(std::string_view text);

// Returns `text` without white space (Unicode's property White_Space) at one end.
std::string_view without_trailing_space(std::string_view text);
std::string_view without_leading_space(std::string_view text);

}  // namespace deltaserve
