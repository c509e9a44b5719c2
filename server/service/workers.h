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
#include <vector>

#include "absl/functional/any_invocable.h"
#include "engine/reuse/reuse.h"
#include "models/base/cancellation.h"

namespace deltaserve {

// Requests have a thread by their size, small, large and huge, so that those of a kilobyte do not
// wait for those of a hundred, nor these for those of megabytes; so has work that nobody waits for.
// On each of them owners take turns. The compiling of grammars has two threads, of which an owner
// has at most one at a time, because a grammar can take a second. All but the thread for small
// requests yield to the engine where processors are short: the answers of many go on while the
// large request of one is prepared. Compiling yields most, because it is the easiest to ask for.
// Thread-safe.
class Workers {
 public:
  // Work must not throw. It is done in a CancellationScope that stop() cancels.
  using Work = absl::AnyInvocable<void()>;
  using Wanted = absl::AnyInvocable<bool() const>;

  // A request of more than `large_bytes` is large, one of more than `huge_bytes` is huge.
  Workers(size_t large_bytes, size_t huge_bytes)
      : large_bytes_(large_bytes), huge_bytes_(huge_bytes) {}
  ~Workers() { stop(); }

  // Queues `work` for a request of `bytes`. Returns false if too much work waits already, of the
  // owner or of all. After stop() it is destroyed at once.
  [[nodiscard]] bool post(const PrefixOwner& owner, size_t bytes, Work work);

  // Queues the compiling of a grammar, for somebody. Returns false if the owner has kCompilations
  // waiting already, for clients that are still there: the work of others, by `wanted`, is dropped
  // to make room. Any thread may call `wanted` at any time.
  [[nodiscard]] bool post_compiling(const PrefixOwner& owner, Wanted wanted, Work work);

  // Queues work that nobody waits for, of which the caller bounds how much there is.
  void post_later(Work work) { (void)later_.post({}, {std::move(work)}, SIZE_MAX); }

  // Each step of niceness gives a quarter less time: ten give a thread about a tenth of a processor
  // beside the engine, fifteen about a thirtieth.
  static constexpr int kYields = 10, kCompilingYields = 15;

  static constexpr size_t kRequests = 4096;  // waiting, for one thread
  static constexpr size_t kRequestsOfOwner = 1024;
  static constexpr size_t kCompilations = 64;

  // Returns how many requests wait in the fullest queue.
  size_t most_waiting() const;

  // Ends the work that runs, waits for it, and destroys what is queued. Idempotent, from one
  // thread.
  void stop();

 private:
  struct Task {
    Work work;
    Wanted wanted{};  // null: always
  };

  // A worker is a few threads. Owners take turns, and the work of each is done in order.
  class Worker {
   public:
    // `yields` is in steps of niceness.
    Worker(Cancellation* stopped, int yields, size_t threads = 1);
    // Returns false if the owner already has `most_of_owner` pieces of work waiting, or if all
    // owners together have kRequests.
    bool post(const PrefixOwner& owner, Task task, size_t most_of_owner);
    size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
    void stop();

   private:
    struct Queue {
      PrefixOwner owner;
      std::deque<Task> tasks;  // never empty
    };
    using Queues = std::list<Queue>;

    void run(Cancellation* stopped, int yields);
    Queues::iterator next_queue();
    Task take_next(Queues::iterator queue);

    std::mutex mutex_;
    std::condition_variable ready_;
    Queues queues_;  // guarded by mutex_, like the next two; whose turn it is comes first
    std::vector<PrefixOwner> served_;  // whose work is being done
    bool stopping_ = false;
    std::atomic<size_t> waiting_{0};
    std::vector<std::thread> threads_;  // last: they use everything above
  };

  const size_t large_bytes_;
  const size_t huge_bytes_;
  Cancellation stopped_;
  Worker small_{&stopped_, 0}, large_{&stopped_, kYields}, huge_{&stopped_, kYields},
      compiling_{&stopped_, kCompilingYields, 2}, later_{&stopped_, kYields};
};

}  // namespace deltaserve
