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

  // A lease gives its bytes back when it is destroyed. It must not outlive the budget. A lease
  // without a budget bounds nothing.
  class Lease {
   public:
    Lease() = default;
    // `most` bounds the request of this lease, beside set_most_for_one().
    explicit Lease(MemoryBudget* budget, const PrefixOwner& owner = {}, uint64_t most = UINT64_MAX)
        : budget_(budget), owner_(owner), most_(most) {}
    Lease(Lease&& other) noexcept { swap(other); }
    Lease& operator=(Lease&& other) noexcept {
      swap(other);
      return *this;
    }
    ~Lease() {
      if (bytes_ > 0) budget_->give_back(owner_, bytes_);
    }

    // Holds at least `bytes` of an incoming request. Returns false, and leaves the lease unchanged,
    // if the budget or the owner's share is used up, or if one request may not have so much at
    // present.
    [[nodiscard]] bool grow_to(uint64_t bytes);
    // Holds exactly `bytes` from now on, without the bound for one request. Returns false as above;
    // shrinking always succeeds.
    [[nodiscard]] bool resize_to(uint64_t bytes);

    uint64_t bytes() const { return bytes_; }

   private:
    void swap(Lease& other) noexcept;

    MemoryBudget* budget_ = nullptr;
    PrefixOwner owner_{};
    uint64_t most_ = UINT64_MAX;
    uint64_t bytes_ = 0;
  };

  // From now on no lease may grow to more than `bytes` of one request.
  void set_most_for_one(uint64_t bytes) { most_for_one_ = bytes; }

  // Sets whether there are several owners. Then no owner may hold more than it leaves free: a half
  // if it is alone, a third beside another that holds its share. So there is always something left
  // for the next one.
  void set_shared(bool shared) { shared_ = shared; }

  uint64_t held() const;

 private:
  bool take(const PrefixOwner& owner, uint64_t bytes);
  void give_back(const PrefixOwner& owner, uint64_t bytes);

  const uint64_t total_;
  std::atomic<uint64_t> most_for_one_{UINT64_MAX};
  std::atomic<bool> shared_{false};
  mutable std::mutex mutex_;
  uint64_t held_ = 0;                         // guarded by mutex_, like the next
  std::map<PrefixOwner, uint64_t> by_owner_;  // only owners that hold something
};

}  // namespace deltaserve
