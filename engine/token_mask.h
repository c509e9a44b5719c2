// A set of tokens of the vocabulary, in the form of the bit mask that a draw takes.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/token_constraint.h"

namespace deltaserve {

// Only the constructor allocates.
class TokenMask {
 public:
  explicit TokenMask(int32_t vocab_size);

  void allow_all();
  // Replaces the set by the tokens that the constraint allows.
  void allow_only(const TokenConstraint& constraint);
  // Removes tokens; ids outside the vocabulary are ignored.
  void remove(std::span<const int32_t> tokens);

  bool any() const;
  // Returns the words for Draw::allowed.
  const uint32_t* words() const { return words_.data(); }

 private:
  void clear_beyond_vocabulary();

  int32_t vocab_size_;
  std::vector<uint32_t> words_;
};

}  // namespace deltaserve
