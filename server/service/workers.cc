#include "server/service/workers.h"

#include <algorithm>
#include <utility>

#include "server/base/thread_priority.h"

namespace deltaserve {

bool Workers::post(const PrefixOwner& owner, size_t bytes, Work work) {
  Worker& worker = bytes > huge_bytes_ ? huge_ : bytes > large_bytes_ ? large_ : small_;
  return worker.post(owner, std::move(work), kRequestsOfOwner);
}

bool Workers::post_compiling(const PrefixOwner& owner, Work work) {
  return compiling_.post(owner, std::move(work), kCompilations);
}

size_t Workers::most_waiting() const {
  return std::max({small_.waiting(), large_.waiting(), huge_.waiting(), compiling_.waiting()});
}

void Workers::stop() {
  stopped_.cancel();
  for (Worker* worker : {&small_, &large_, &huge_, &compiling_, &later_}) worker->stop();
}

bool Workers::Worker::post(const PrefixOwner& owner, Work work, size_t most_of_owner) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return true;
    auto queue = std::find_if(queues_.begin(), queues_.end(),
                              [&](const Queue& known) { return known.owner == owner; });
    const size_t own = queue == queues_.end() ? 0 : queue->work.size();
    if (own >= most_of_owner || (most_of_owner < SIZE_MAX && waiting() >= kRequests)) return false;
    if (queue == queues_.end()) queue = queues_.insert(queue, {owner, {}});
    queue->work.push_back(std::move(work));
    ++waiting_;
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
    waiting_ = 0;
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
  --waiting_;
  if (queue.work.empty()) {
    queues_.pop_front();
  } else {
    queues_.splice(queues_.end(), queues_, queues_.begin());
  }
  return work;
}

void Workers::Worker::run(Cancellation* stopped, bool yields) {
  if (yields) lower_thread_priority();
  const CancellationScope scope(stopped);
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
