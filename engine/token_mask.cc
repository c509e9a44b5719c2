#include "engine/token_mask.h"

#include <algorithm>

namespace deltaserve {

TokenMask::TokenMask(int32_t vocab_size)
    : vocab_size_(vocab_size), words_((static_cast<size_t>(vocab_size) + 31) / 32) {}

void TokenMask::allow_all() {
  std::fill(words_.begin(), words_.end(), ~uint32_t{0});
  clear_beyond_vocabulary();
}

void TokenMask::allow_only(const TokenConstraint& constraint) {
  constraint.allowed(words_);
  clear_beyond_vocabulary();
}

void TokenMask::remove(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocab_size_) continue;
    words_[static_cast<size_t>(token) / 32] &= ~(uint32_t{1} << (token % 32));
  }
}

bool TokenMask::any() const {
  return std::any_of(words_.begin(), words_.end(), [](uint32_t word) { return word != 0; });
}

// Clears the last word's bits beyond the vocabulary, so that any() does not take them for tokens.
void TokenMask::clear_beyond_vocabulary() {
  const int32_t used = vocab_size_ % 32;
  if (used != 0) words_.back() &= (uint32_t{1} << used) - 1;
}

}  // namespace deltaserve
