// The threads that read and encode requests, off the threads of the fronts.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace deltaserve {

// There are three threads: large requests have one of their own, so that they do not delay the
// small ones, and so has work that nobody waits for. Thread-safe.
class Workers {
 public:
  // Work must not throw.
  using Work = absl::AnyInvocable<void()>;

  // A request of more than `large_bytes` is large.
  explicit Workers(size_t large_bytes) : large_bytes_(large_bytes) {}
  ~Workers() { stop(); }

  // Queues `work` for a request of `bytes`. After stop() it is destroyed at once.
  void post(size_t bytes, Work work);

  // Queues work that nobody waits for.
  void post_later(Work work) { later_.post(std::move(work)); }

  // Waits for the work that runs and destroys what is queued. Idempotent, from one thread.
  void stop();

 private:
  class Worker {
   public:
    Worker() : thread_([this] { run(); }) {}
    void post(Work work);
    void stop();

   private:
    void run();

    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<Work> queue_;  // guarded by mutex_, as the next
    bool stopping_ = false;
    std::thread thread_;  // last: it uses everything above
  };

  const size_t large_bytes_;
  Worker small_, large_, later_;
};

}  // namespace deltaserve
