// A set of tokens of the vocabulary, as the bit mask that a draw takes.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/token_constraint.h"

namespace deltaserve {

// Allocates on construction only.
class TokenMask {
 public:
  explicit TokenMask(int32_t vocab_size);

  void allow_all();
  // What the constraint allows, and nothing else.
  void allow_only(const TokenConstraint& constraint);
  // Ids outside the vocabulary are passed over.
  void remove(std::span<const int32_t> tokens);

  bool any() const;
  // See Draw::allowed.
  const uint32_t* words() const { return words_.data(); }

 private:
  void clear_beyond_vocabulary();

  int32_t vocab_size_;
  std::vector<uint32_t> words_;
};

}  // namespace deltaserve
