// The threads that read and encode requests, off the threads of the fronts.
#pragma once
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

namespace deltaserve {

// There are four threads: large requests have one of their own, so that they do not delay the small
// ones, and so have the compiling of grammars and work that nobody waits for. Thread-safe.
class Workers {
 public:
  // Work must not throw.
  using Work = absl::AnyInvocable<void()>;

  // A request of more than `large_bytes` is large.
  explicit Workers(size_t large_bytes) : large_bytes_(large_bytes) {}
  ~Workers() { stop(); }

  // Queues `work` for a request of `bytes`. After stop() it is destroyed at once.
  void post(size_t bytes, Work work);

  // Queues the compiling of a grammar, for somebody. Owners take turns. False: the owner has
  // kCompilations waiting already.
  [[nodiscard]] bool post_compiling(const PrefixOwner& owner, Work work);

  // Queues work that nobody waits for.
  void post_later(Work work) { later_.post({}, std::move(work)); }

  static constexpr size_t kCompilations = 64;

  // Waits for the work that runs and destroys what is queued. Idempotent, from one thread.
  void stop();

 private:
  // One thread. Owners take turns, and the work of each is done in order.
  class Worker {
   public:
    Worker() : thread_([this] { run(); }) {}
    void post(const PrefixOwner& owner, Work work) { post(owner, std::move(work), SIZE_MAX); }
    // False: the owner has `most` waiting already.
    bool post(const PrefixOwner& owner, Work work, size_t most);
    void stop();

   private:
    struct Queue {
      PrefixOwner owner;
      std::deque<Work> work;  // never empty
    };
    using Queues = std::list<Queue>;

    void run();
    Work take_next();

    std::mutex mutex_;
    std::condition_variable ready_;
    Queues queues_;  // guarded by mutex_, as the next; whose turn it is comes first
    bool stopping_ = false;
    std::thread thread_;  // last: it uses everything above
  };

  const size_t large_bytes_;
  Worker small_, large_, compiling_, later_;
};

}  // namespace deltaserve
