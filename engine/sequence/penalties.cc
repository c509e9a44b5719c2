#include "engine/sequence/penalties.h"

#include "kernels/base/check.h"

namespace deltaserve {

Penalties::Penalties(const SamplingParams& sampling, int32_t vocab_size)
    : repetition_(sampling.repetition_penalty),
      presence_(sampling.presence_penalty),
      frequency_(sampling.frequency_penalty) {
  if (repetition_ != 1 || presence_ != 0 || frequency_ != 0) entries_.assign(vocab_size, -1);
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (!entries_.empty()) entries_[token] = static_cast<int32_t>(adjustments_.size());
    adjustments_.push_back({token, 1, bias});
    generated_.push_back(false);
  }
}

size_t Penalties::entry_of(int32_t token) {
  DS_CHECK(token >= 0 && static_cast<size_t>(token) < entries_.size());
  if (entries_[token] < 0) {
    entries_[token] = static_cast<int32_t>(adjustments_.size());
    adjustments_.push_back({token, 1, 0});
    generated_.push_back(false);
  }
  return static_cast<size_t>(entries_[token]);
}

void Penalties::add_prompt_token(int32_t token) {
  if (repetition_ != 1) adjustments_[entry_of(token)].factor = repetition_;
}

void Penalties::add_generated_token(int32_t token) {
  if (entries_.empty()) return;
  const size_t entry = entry_of(token);
  LogitAdjustment& adjustment = adjustments_[entry];
  adjustment.factor = repetition_;
  if (!generated_[entry]) adjustment.add -= presence_;
  adjustment.add -= frequency_;
  generated_[entry] = true;
}

}  // namespace deltaserve
