// Lets long work be given up. To encode a prompt of megabytes, to run a template or to compile a
// grammar may take seconds, and meanwhile nobody may want the result any more.
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
  // After `deadline` the work is not wanted either.
  void set_deadline(Time deadline) {
    deadline_.store(deadline.time_since_epoch().count(), std::memory_order_release);
  }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // CANCELLED, DEADLINE_EXCEEDED, or OK while the work is wanted.
  absl::Status status() const;

  // Returns the steps of work that were done so far under this cancellation.
  uint64_t steps() const { return steps_.load(std::memory_order_acquire); }

 private:
  friend class CancellationScope;

  std::atomic<bool> cancelled_{false};
  std::atomic<Time::rep> deadline_{Time::max().time_since_epoch().count()};
  std::atomic<uint64_t> steps_{0};
};

// While a scope lives, what its thread does is the work of a cancellation, and of those of the
// scopes around it. The cancellation outlives the scope.
class CancellationScope {
 public:
  explicit CancellationScope(Cancellation* cancellation);
  ~CancellationScope();
  CancellationScope(const CancellationScope&) = delete;
  CancellationScope& operator=(const CancellationScope&) = delete;

  // Asks all cancellations of this thread, and tells them of `steps` more.
  static absl::Status ask(uint64_t steps);

 private:
  Cancellation* const cancellation_;
  CancellationScope* const outer_;
};

// Work asks its cancellations once in so many steps: well within a millisecond.
inline constexpr uint64_t kStepsPerQuestion = 16384;

namespace cancellation_internal {
inline thread_local uint64_t steps_since_question = 0;
}  // namespace cancellation_internal

// Long work calls it as it goes on, with the steps that it does next; a step takes some ten
// nanoseconds, like encoding a byte of text. Not OK: the work must end with this status.
inline absl::Status check_wanted(uint64_t steps) {
  uint64_t& since = cancellation_internal::steps_since_question;
  since += steps;
  if (since < kStepsPerQuestion) return absl::OkStatus();
  absl::Status status = CancellationScope::ask(since);
  // Once the work is not wanted, every further call says so.
  since = status.ok() ? 0 : kStepsPerQuestion;
  return status;
}

}  // namespace deltaserve
