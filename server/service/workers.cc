#include "server/service/workers.h"

#include <utility>

namespace deltaserve {

void Workers::post(size_t bytes, Work work) {
  (bytes > large_bytes_ ? large_ : small_).post(std::move(work));
}

void Workers::stop() {
  small_.stop();
  large_.stop();
  later_.stop();
}

void Workers::Worker::post(Work work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push_back(std::move(work));
  }
  ready_.notify_one();
}

void Workers::Worker::stop() {
  std::deque<Work> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
  }
  ready_.notify_one();
  dropped.clear();  // outside the lock
  if (thread_.joinable()) thread_.join();
}

void Workers::Worker::run() {
  for (;;) {
    Work work;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace deltaserve
