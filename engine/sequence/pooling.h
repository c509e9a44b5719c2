// The embedding of a prompt: one vector of unit length, made from the hidden states of its rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/base/final_norm.h"

namespace deltaserve {

enum class Pooling : uint8_t {
  kNone,  // no embedding is wanted
  kLast,  // the prompt's last row
  kMean,  // the mean of all rows
};

// Takes the rows of one prompt in order, each on its own and in double precision, so the result
// does not depend on the pieces in which the prompt was read.
class Pooler {
 public:
  explicit Pooler(Pooling pooling = Pooling::kNone) : pooling_(pooling) {}

  // Returns true if the row at `position` of a prompt of `num_tokens` is needed.
  bool wants(int64_t position, int64_t num_tokens) const {
    return pooling_ == Pooling::kMean || (pooling_ == Pooling::kLast && position + 1 == num_tokens);
  }
  // Adds a row, the last layer's output before the final norm: [hidden].
  void add(std::span<const float> row, const FinalNorm& norm);
  // Returns the sum of the rows, scaled to length 1. A sum that is zero has no direction and stays
  // as it is. Some numbers are not finite if some rows were not.
  std::vector<float> result() const;

 private:
  Pooling pooling_;
  std::vector<double> sum_;  // [hidden], once there is a row
};

}  // namespace deltaserve
