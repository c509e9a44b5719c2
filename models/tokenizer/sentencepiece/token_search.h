// Finds the tokens of a text whose parts are trusted or not, from its beginning to its end.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/sentencepiece/token_finder.h"

namespace deltaserve {

// A text in which tokens are found. Regions [begin, end) of it are trusted.
struct JoinedText {
  std::string text;
  std::vector<std::pair<size_t, size_t>> trusted;

  explicit JoinedText(std::span<const TextPart> parts);
};

// Thread safety: one thread at a time.
class TokenSearch {
 public:
  // Finds `special` tokens in the trusted regions, and `ordinary` ones in the whole text. All three
  // arguments outlive the search.
  TokenSearch(const JoinedText& joined, const TokenFinder& special, const TokenFinder& ordinary)
      : joined_(joined), special_(special), ordinary_(ordinary) {}

  // Moves to the next token at or after `*at`, which receives its place. Returns null at the end.
  const AddedToken* next(size_t* at);

 private:
  // Returns the longer of a special and an ordinary token at that place.
  const AddedToken* match(size_t at, bool more) const;

  const JoinedText& joined_;
  const TokenFinder& special_;
  const TokenFinder& ordinary_;
  size_t region_ = 0;
};

}  // namespace deltaserve
