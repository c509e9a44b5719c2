// Bounds how many bytes of requests and replies the server holds at once, and how many of them are
// of one owner.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "engine/reuse/reuse.h"

namespace deltaserve {

// Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t total) : total_(total) {}

  // A lease gives back what it holds when it is destroyed. It must not outlive the budget. Without
  // a budget it bounds nothing.
  class Lease {
   public:
    Lease() = default;
    explicit Lease(MemoryBudget* budget, const PrefixOwner& owner = {})
        : budget_(budget), owner_(owner) {}
    Lease(Lease&& other) noexcept { swap(other); }
    Lease& operator=(Lease&& other) noexcept {
      swap(other);
      return *this;
    }
    ~Lease() {
      if (bytes_ > 0) budget_->give_back(owner_, bytes_);
    }

    // Holds at least `bytes` of a request that comes in. False: the budget or the owner's share is
    // used up, or that is more than one request may have now, and the lease is as it was.
    [[nodiscard]] bool grow_to(uint64_t bytes);
    // Holds `bytes` from now on, of which a request may have any number. False as above; a lease
    // always shrinks.
    [[nodiscard]] bool resize_to(uint64_t bytes);

    uint64_t bytes() const { return bytes_; }

   private:
    void swap(Lease& other) noexcept;

    MemoryBudget* budget_ = nullptr;
    PrefixOwner owner_{};
    uint64_t bytes_ = 0;
  };

  // Bounds every lease that grows to `bytes` of a request from now on.
  void set_most_for_one(uint64_t bytes) { most_for_one_ = bytes; }

  // Whether there are several owners. Then none may hold more than it leaves free: alone a half,
  // beside another that does the same a third, so that there is always something for the next one.
  void set_shared(bool shared) { shared_ = shared; }

  uint64_t held() const;

 private:
  bool take(const PrefixOwner& owner, uint64_t bytes);
  void give_back(const PrefixOwner& owner, uint64_t bytes);

  const uint64_t total_;
  std::atomic<uint64_t> most_for_one_{UINT64_MAX};
  std::atomic<bool> shared_{false};
  mutable std::mutex mutex_;
  uint64_t held_ = 0;                         // guarded by mutex_, as the next
  std::map<PrefixOwner, uint64_t> by_owner_;  // of those that hold something
};

}  // namespace deltaserve
