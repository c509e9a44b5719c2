// The threads that read and encode requests, off the threads of the fronts.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "engine/reuse/reuse.h"
#include "models/base/cancellation.h"

namespace deltaserve {

// There are five threads. Requests have one by their size, small, large and huge, so that those of
// a kilobyte do not wait for those of a hundred, nor these for those of megabytes; so have the
// compiling of grammars, and work that nobody waits for. On each of them owners take turns. All but
// the one for small requests yield to the engine where processors are short: the answers of many go
// on while the large request of one is prepared.
// Thread-safe.
class Workers {
 public:
  // Work must not throw. It is done in a CancellationScope that stop() cancels.
  using Work = absl::AnyInvocable<void()>;

  // A request of more than `large_bytes` is large, one of more than `huge_bytes` is huge.
  Workers(size_t large_bytes, size_t huge_bytes)
      : large_bytes_(large_bytes), huge_bytes_(huge_bytes) {}
  ~Workers() { stop(); }

  // Queues `work` for a request of `bytes`. Returns false if too much work waits already, of the
  // owner or of all. After stop() it is destroyed at once.
  [[nodiscard]] bool post(const PrefixOwner& owner, size_t bytes, Work work);

  // Queues the compiling of a grammar, for somebody. Returns false if the owner has kCompilations
  // waiting already.
  [[nodiscard]] bool post_compiling(const PrefixOwner& owner, Work work);

  // Queues work that nobody waits for, of which the caller bounds how much there is.
  void post_later(Work work) { (void)later_.post({}, std::move(work), SIZE_MAX); }

  static constexpr size_t kRequests = 4096;  // waiting, for one thread
  static constexpr size_t kRequestsOfOwner = 1024;
  static constexpr size_t kCompilations = 64;

  // Returns how many requests wait in the fullest queue.
  size_t most_waiting() const;

  // Ends the work that runs, waits for it, and destroys what is queued. Idempotent, from one
  // thread.
  void stop();

 private:
  // A worker is one thread. Owners take turns, and the work of each is done in order.
  class Worker {
   public:
    Worker(Cancellation* stopped, bool yields)
        : thread_([this, stopped, yields] { run(stopped, yields); }) {}
    // Returns false if the owner already has `most_of_owner` pieces of work waiting, or if all
    // owners together have kRequests.
    bool post(const PrefixOwner& owner, Work work, size_t most_of_owner);
    size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
    void stop();

   private:
    struct Queue {
      PrefixOwner owner;
      std::deque<Work> work;  // never empty
    };
    using Queues = std::list<Queue>;

    void run(Cancellation* stopped, bool yields);
    Work take_next();

    std::mutex mutex_;
    std::condition_variable ready_;
    Queues queues_;  // guarded by mutex_, like the next; whose turn it is comes first
    bool stopping_ = false;
    std::atomic<size_t> waiting_{0};
    std::thread thread_;  // last: it uses everything above
  };

  const size_t large_bytes_;
  const size_t huge_bytes_;
  Cancellation stopped_;
  Worker small_{&stopped_, false}, large_{&stopped_, true}, huge_{&stopped_, true},
      compiling_{&stopped_, true}, later_{&stopped_, true};
};

}  // namespace deltaserve
