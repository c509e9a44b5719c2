#include "server/service/workers.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/base/thread_priority.h"

namespace deltaserve {

bool Workers::post(const PrefixOwner& owner, size_t bytes, Work work) {
  Worker& worker = bytes > huge_bytes_ ? huge_ : bytes > large_bytes_ ? large_ : small_;
  return worker.post(owner, {std::move(work)}, kRequestsOfOwner);
}

bool Workers::post_compiling(const PrefixOwner& owner, Wanted wanted, Work work) {
  return compiling_.post(owner, {std::move(work), std::move(wanted)}, kCompilations);
}

size_t Workers::most_waiting() const {
  return std::max({small_.waiting(), large_.waiting(), huge_.waiting(), compiling_.waiting()});
}

void Workers::stop() {
  stopped_.cancel();
  for (Worker* worker : {&small_, &large_, &huge_, &compiling_, &later_}) worker->stop();
}

Workers::Worker::Worker(Cancellation* stopped, int yields, size_t threads) {
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this, stopped, yields] { run(stopped, yields); });
  }
}

bool Workers::Worker::post(const PrefixOwner& owner, Task task, size_t most_of_owner) {
  std::deque<Task> dropped;  // to destroy after the lock is released
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return true;
    auto queue = std::find_if(queues_.begin(), queues_.end(),
                              [&](const Queue& known) { return known.owner == owner; });
    if (queue != queues_.end() && queue->tasks.size() >= most_of_owner) {
      const auto unwanted = std::stable_partition(
          queue->tasks.begin(), queue->tasks.end(),
          [](const Task& waiting) { return waiting.wanted == nullptr || waiting.wanted(); });
      std::move(unwanted, queue->tasks.end(), std::back_inserter(dropped));
      queue->tasks.erase(unwanted, queue->tasks.end());
      waiting_ -= dropped.size();
      if (queue->tasks.size() >= most_of_owner) return false;
    }
    if (most_of_owner < SIZE_MAX && waiting() >= kRequests) return false;
    if (queue == queues_.end()) queue = queues_.insert(queue, {owner, {}});
    queue->tasks.push_back(std::move(task));
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
  ready_.notify_all();
  dropped.clear();  // outside the lock
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

// Returns the first queue of an owner whose work no thread does. Requires mutex_.
Workers::Worker::Queues::iterator Workers::Worker::next_queue() {
  return std::find_if(queues_.begin(), queues_.end(), [this](const Queue& queue) {
    return std::find(served_.begin(), served_.end(), queue.owner) == served_.end();
  });
}

// Requires mutex_.
Workers::Task Workers::Worker::take_next(Queues::iterator queue) {
  Task task = std::move(queue->tasks.front());
  queue->tasks.pop_front();
  --waiting_;
  served_.push_back(queue->owner);
  if (queue->tasks.empty()) {
    queues_.erase(queue);
  } else {
    queues_.splice(queues_.end(), queues_, queue);
  }
  return task;
}

void Workers::Worker::run(Cancellation* stopped, int yields) {
  if (yields > 0) lower_thread_priority(yields);
  const CancellationScope scope(stopped);
  std::unique_lock lock(mutex_);
  for (;;) {
    Queues::iterator queue;
    ready_.wait(lock, [&] { return stopping_ || (queue = next_queue()) != queues_.end(); });
    if (stopping_) return;
    const PrefixOwner owner = queue->owner;
    Task task = take_next(queue);
    lock.unlock();
    task.work();
    task = {};
    lock.lock();
    served_.erase(std::find(served_.begin(), served_.end(), owner));
  }
}

}  // namespace deltaserve
