// A limit on how often something may happen.
#pragma once
#include <algorithm>
#include <chrono>
#include <optional>

namespace deltaserve {

struct Rate {
  double burst = 0;       // at once
  double per_second = 0;  // in the long run
};

// Holds up to `burst` tokens and gains `per_second` of them.
//
// Thread safety: one thread at a time.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit TokenBucket(const Rate& rate) : rate_(rate), tokens_(rate.burst) {}

  // Takes tokens. Returns false if there are too few; then all are taken. Times must not go back.
  bool take(double tokens, Time now) {
    if (filled_) {
      const std::chrono::duration<double> time = now - *filled_;
      tokens_ = std::min(rate_.burst, tokens_ + time.count() * rate_.per_second);
    }
    filled_ = now;
    tokens_ -= tokens;
    const bool enough = tokens_ >= 0;
    tokens_ = std::max(tokens_, 0.0);
    return enough;
  }

 private:
  Rate rate_;
  double tokens_;
  std::optional<Time> filled_;  // when tokens were gained last
};

}  // namespace deltaserve
