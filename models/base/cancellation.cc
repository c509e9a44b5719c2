#include "models/base/cancellation.h"

#include <utility>

namespace deltaserve {
namespace {

thread_local CancellationScope* innermost = nullptr;

}  // namespace

absl::Status Cancellation::status() const {
  if (cancelled()) return absl::CancelledError("the work is not wanted any more");
  const Time::duration deadline(deadline_.load(std::memory_order_acquire));
  if (deadline == Time::max().time_since_epoch() ||
      std::chrono::steady_clock::now().time_since_epoch() < deadline) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError("the deadline passed");
}

CancellationScope::CancellationScope(Cancellation* cancellation)
    : cancellation_(cancellation), outer_(innermost) {
  innermost = this;
  cancellation_internal::steps_since_question = 0;
}

CancellationScope::~CancellationScope() {
  innermost = outer_;
  cancellation_internal::steps_since_question = 0;
}

absl::Status CancellationScope::ask(uint64_t steps) {
  absl::Status result;
  for (const CancellationScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
    scope->cancellation_->steps_.fetch_add(steps, std::memory_order_acq_rel);
    absl::Status status = scope->cancellation_->status();
    if (!status.ok() && result.ok()) result = std::move(status);
  }
  return result;
}

}  // namespace deltaserve
