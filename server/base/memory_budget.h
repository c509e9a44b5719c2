// Bounds how many bytes of requests the server holds at once.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace deltaserve {

// Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t total) : available_(static_cast<int64_t>(total)) {}

  // A lease gives back what it holds when it is destroyed. It must not outlive the budget.
  class Lease {
   public:
    explicit Lease(MemoryBudget* budget = nullptr) : budget_(budget) {}
    Lease(Lease&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Lease() {
      if (budget_ != nullptr) budget_->available_.fetch_add(bytes_, std::memory_order_relaxed);
    }

    // Holds at least `bytes`. False: the budget is used up, or that is more than one lease may have
    // now, and the lease is as it was.
    [[nodiscard]] bool grow_to(uint64_t bytes) {
      const int64_t more = static_cast<int64_t>(bytes) - bytes_;
      if (budget_ == nullptr || more <= 0) return true;
      if (bytes > budget_->most_for_one_.load(std::memory_order_relaxed)) return false;
      if (budget_->available_.fetch_sub(more, std::memory_order_relaxed) < more) {
        budget_->available_.fetch_add(more, std::memory_order_relaxed);
        return false;
      }
      bytes_ += more;
      return true;
    }

    uint64_t bytes() const { return static_cast<uint64_t>(bytes_); }

   private:
    MemoryBudget* budget_;
    int64_t bytes_ = 0;
  };

  // Bounds every lease that grows from now on.
  void set_most_for_one(uint64_t bytes) { most_for_one_ = bytes; }

 private:
  std::atomic<int64_t> available_;
  std::atomic<uint64_t> most_for_one_{UINT64_MAX};
};

}  // namespace deltaserve
