// The tokens of a row that may be drawn, and their weights.
#pragma once
#include "kernels/cuda/draw/block.h"

namespace deltaserve::cuda::logits_head {

// e^x is 0 as a float for all smaller x.
inline constexpr float kLeastExponent = -104.0f;

// Returns false for a temperature that counts as 0, also because its inverse is not finite.
DS_DEVICE bool is_warm(float temperature) {
  return temperature > 0 && is_finite(1 / temperature);
}

// The values of one row's candidates, and their weights relative to the most likely one.
struct Candidates {
  const float* values = nullptr;  // [vocab], may have NaN
  const uint32_t* allowed = nullptr;
  int vocab = 0;
  float max = 0;  // the largest value of an allowed token, finite
  float temperature = 1;
  float inverse = 1;        // 1 / temperature
  bool weightless = false;  // candidates of weight 0 also have a place in the order

  DS_DEVICE bool may(int token) const {
    return allowed == nullptr || (allowed[token / 32] >> (token % 32) & 1) != 0;
  }
  // `raw` is values[token].
  DS_DEVICE float value(int token, float raw) const {
    return may(token) ? without_nan(raw) : minus_infinity();
  }
  // Returns e^{(value - max) / temperature}.
  DS_DEVICE float weight(float value) const {
    const float exponent = scaled(value);
    return exponent > kLeastExponent ? expf(exponent) : 0.0f;
  }
  DS_DEVICE float scaled(float value) const { return (value - max) * inverse; }
};

// The candidates in order of their ids.
struct RowItems {
  Candidates from;
  float least;  // candidates of a smaller weight count as 0

  DS_DEVICE float item_weight(int token, float raw) const {
    const float weight = from.weight(from.value(token, raw));
    return weight >= least ? weight : 0.0f;
  }
  DS_DEVICE double lane_sum(int begin, int end) const {
    double sum = 0;
    each_value<4>(from.values, begin + simt::lane_index(), end, simt::kWarp,
                  [&](int token, float raw) { sum += item_weight(token, raw); });
    return sum;
  }
};

}  // namespace deltaserve::cuda::logits_head
