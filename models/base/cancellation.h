// Cancels long work. Encoding a prompt of megabytes, running a template or compiling a grammar may
// take seconds, and meanwhile the client may leave.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"

namespace deltaserve {

// Says whether some work is still wanted. Thread-safe.
class Cancellation {
 public:
  using Time = std::chrono::steady_clock::time_point;

  void cancel() { cancelled_.store(true, std::memory_order_release); }
  // Sets the time after which the work is no longer wanted.
  void set_deadline(Time deadline) {
    deadline_.store(deadline.time_since_epoch().count(), std::memory_order_release);
  }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // Returns CANCELLED or DEADLINE_EXCEEDED; OK while the work is wanted.
  absl::Status status() const;

  // Returns the steps of work that were done under this cancellation.
  uint64_t steps() const { return steps_.load(std::memory_order_acquire); }

 private:
  friend class CancellationScope;

  std::atomic<bool> cancelled_{false};
  std::atomic<Time::rep> deadline_{Time::max().time_since_epoch().count()};
  std::atomic<uint64_t> steps_{0};
};

// While a scope lives, its thread works for its cancellation and for those of the enclosing scopes.
// The cancellation must outlive the scope.
class CancellationScope {
 public:
  explicit CancellationScope(Cancellation* cancellation);
  ~CancellationScope();
  CancellationScope(const CancellationScope&) = delete;
  CancellationScope& operator=(const CancellationScope&) = delete;

  // Checks all cancellations of this thread, and adds `steps` to the work of each.
  static absl::Status ask(uint64_t steps);

 private:
  Cancellation* const cancellation_;
  CancellationScope* const outer_;
};

// Work checks its cancellations once in this many steps, which take well below a millisecond.
inline constexpr uint64_t kStepsPerQuestion = 16384;

namespace cancellation_internal {
inline thread_local uint64_t steps_since_question = 0;
}  // namespace cancellation_internal

// Checks whether the work is still wanted. Long work calls this repeatedly with the number of its
// next steps; a step takes some ten nanoseconds, like encoding a byte of text. If the status is not
// OK, the work must end with it.
inline absl::Status check_wanted(uint64_t steps) {
  uint64_t& since = cancellation_internal::steps_since_question;
  since += steps;
  if (since < kStepsPerQuestion) return absl::OkStatus();
  absl::Status status = CancellationScope::ask(since);
  // After an error every further call checks again and returns it.
  since = status.ok() ? 0 : kStepsPerQuestion;
  return status;
}

}  // namespace deltaserve
