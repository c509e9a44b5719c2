// Wakes a sleeping thread. A ring that comes while the thread is awake is not lost.
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace deltaserve {

// The sleeper and all threads that may ring share it, so that a ring after the sleeper's end is
// harmless.
//
// Thread safety: any thread may call ring(); one thread calls the rest.
class Doorbell {
 public:
  void ring() {
    {
      std::lock_guard lock(mutex_);
      rung_ = true;
    }
    rang_.notify_one();
  }

  // Returns at once if there was a ring since the last wait; several rings count as one. So the
  // sleeper never misses a change that a thread makes before it rings.
  void wait() {
    std::unique_lock lock(mutex_);
    rang_.wait(lock, [this] { return rung_; });
    rung_ = false;
  }

  // Works like wait(), but returns at `time` at the latest; max() means without limit.
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
