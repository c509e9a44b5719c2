#include "server/service/workers.h"

#include <algorithm>
#include <utility>

namespace deltaserve {

void Workers::post(size_t bytes, Work work) {
  (bytes > large_bytes_ ? large_ : small_).post({}, std::move(work));
}

bool Workers::post_compiling(const PrefixOwner& owner, Work work) {
  return compiling_.post(owner, std::move(work), kCompilations);
}

void Workers::stop() {
  small_.stop();
  large_.stop();
  compiling_.stop();
  later_.stop();
}

bool Workers::Worker::post(const PrefixOwner& owner, Work work, size_t most) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return true;
    auto queue = std::find_if(queues_.begin(), queues_.end(),
                              [&](const Queue& known) { return known.owner == owner; });
    if (queue == queues_.end()) queue = queues_.insert(queue, {owner, {}});
    if (queue->work.size() >= most) return false;
    queue->work.push_back(std::move(work));
  }
  ready_.notify_one();
  return true;
}

void Workers::Worker::stop() {
  Queues dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(queues_);
  }
  ready_.notify_one();
  dropped.clear();  // outside the lock
  if (thread_.joinable()) thread_.join();
}

// Requires mutex_ and a queue.
Workers::Work Workers::Worker::take_next() {
  Queue& queue = queues_.front();
  Work work = std::move(queue.work.front());
  queue.work.pop_front();
  if (queue.work.empty()) {
    queues_.pop_front();
  } else {
    queues_.splice(queues_.end(), queues_, queues_.begin());
  }
  return work;
}

void Workers::Worker::run() {
  for (;;) {
    Work work;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return stopping_ || !queues_.empty(); });
      if (stopping_) return;
      work = take_next();
    }
    work();
  }
}

}  // namespace deltaserve
