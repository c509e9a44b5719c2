// Changes that a request makes to its logits: the repetition, presence and frequency penalties and
// the biases, in the form of the adjustments that a draw takes.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "kernels/program/step.h"

namespace deltaserve {

// Keeps at most one adjustment for each token of the vocabulary, however long the texts are. A copy
// is independent: the choices of a request start with copies that know the prompt.
//
// Thread safety: one thread at a time.
class Penalties {
 public:
  Penalties() = default;  // changes nothing
  Penalties(const SamplingParams& sampling, int32_t vocab_size);

  void add_prompt_token(int32_t token);
  void add_generated_token(int32_t token);

  // Returns one adjustment for each token that is changed. Valid until the next add.
  const std::vector<LogitAdjustment>& adjustments() const { return adjustments_; }

 private:
  size_t entry_of(int32_t token);

  float repetition_ = 1;
  float presence_ = 0;
  float frequency_ = 0;
  std::vector<LogitAdjustment> adjustments_;
  std::vector<bool> generated_;  // [adjustments_] whether the answer has the token
  // Maps a token to its index in adjustments_, -1 = none. Empty if the request has only biases and
  // no penalty.
  std::vector<int32_t> entries_;
};

}  // namespace deltaserve
