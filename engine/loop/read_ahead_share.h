// Bounds the time that read-aheads take from running streams.
#pragma once
#include <algorithm>

namespace deltaserve {

// Read-aheads may lengthen steps in which others decode, but by at most a twentieth in the long
// run. A step without a read-ahead earns a twentieth of its time; a step with one costs the time by
// which it was longer than the last step without one.
//
// Thread safety: one thread.
class ReadAheadShare {
 public:
  // Returns true if a step with decode rows may read ahead.
  bool allows() const { return earned_ >= cost_; }

  // Counts a step with decode rows that took `seconds`.
  void count(double seconds, bool read_ahead) {
    if (read_ahead) {
      cost_ = std::max(seconds - usual_, 0.0);
      earned_ -= cost_;
    } else {
      usual_ = seconds;
      earned_ = std::min(earned_ + seconds * kShare, kMostEarned);
    }
  }

 private:
  static constexpr double kShare = 1.0 / 20;
  static constexpr double kMostEarned = 1;  // second

  double usual_ = 0;  // time of the last step without a read-ahead
  double cost_ = 0;   // of the last read-ahead
  double earned_ = 0;
};

}  // namespace deltaserve
