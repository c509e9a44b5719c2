// A fixed set of worker threads that run one loop at a time. A pool is passed in and is not a
// singleton, so that two engines in one process each have their own.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace deltaserve {

class ThreadPool {
 public:
  // `num_threads` >= 1 counts the calling thread, so ThreadPool(1) starts no thread.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, thread) for every task in [0, num_tasks), each exactly once, and returns when
  // all are done. `thread` in [0, num_threads()) names the scratch space a task may use. Tasks are
  // handed out in order to whichever thread is free, so results must not depend on `thread`.
  // Only one thread may call this at a time, and body must not call it again.
  template <class Body>
  void parallel_for(int64_t num_tasks, Body&& body) {
    if (num_tasks <= 0) return;
    if (num_tasks == 1 || workers_.empty()) {
      for (int64_t task = 0; task < num_tasks; ++task) body(task, 0);
      return;
    }
    using Pointer = std::add_pointer_t<std::remove_reference_t<Body>>;
    run(
        num_tasks,
        [](void* context, int64_t task, int thread) {
          (*static_cast<Pointer>(context))(task, thread);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

 private:
  using Invoke = void (*)(void* context, int64_t task, int thread);

  void run(int64_t num_tasks, Invoke invoke, void* context);
  void work(int thread);
  bool enter();
  void leave();
  void drain(int thread);

  // The current loop. The caller writes it while the gate is shut and no worker is inside; workers
  // read it after they went through the open gate.
  Invoke invoke_ = nullptr;
  void* context_ = nullptr;
  int64_t num_tasks_ = 0;

  static constexpr uint32_t kOpen = 1u << 31;

  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // advances when a loop starts; workers sleep on it
  // kOpen, plus the number of workers inside. A worker that wakes late finds the gate shut and
  // stays out, so a loop never waits for a thread that the system has not let run.
  alignas(64) std::atomic<uint32_t> gate_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace deltaserve
