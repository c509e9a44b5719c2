// Wakes a sleeping thread, and does not forget a ring that came while it was awake.
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace deltaserve {

// Shared by whoever may ring, so that a ring after the sleeper's end is harmless.
//
// Thread safety: ring() from any thread, the rest from one.
class Doorbell {
 public:
  void ring() {
    {
      std::lock_guard lock(mutex_);
      rung_ = true;
    }
    rang_.notify_one();
  }

  // Returns at once if there was a ring since the last wait; several rings are one. So whoever
  // changes something first and rings then is never missed.
  void wait() {
    std::unique_lock lock(mutex_);
    rang_.wait(lock, [this] { return rung_; });
    rung_ = false;
  }

  // The same, but no longer than until `time`; max() = for ever.
  void wait_until(std::chrono::steady_clock::time_point time) {
    if (time == std::chrono::steady_clock::time_point::max()) return wait();
    std::unique_lock lock(mutex_);
    rang_.wait_until(lock, time, [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable rang_;
  bool rung_ = false;  // guarded by mutex_
};

}  // namespace deltaserve
