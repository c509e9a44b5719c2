#include "server/base/memory_budget.h"

#include <algorithm>
#include <utility>

namespace deltaserve {

bool MemoryBudget::Lease::grow_to(uint64_t bytes) {
  if (budget_ == nullptr || bytes <= bytes_) return true;
  return bytes <= std::min<uint64_t>(most_, budget_->most_for_one_) && resize_to(bytes);
}

bool MemoryBudget::Lease::resize_to(uint64_t bytes) {
  if (budget_ == nullptr) return true;
  if (bytes > bytes_ && !budget_->take(owner_, bytes - bytes_)) return false;
  if (bytes < bytes_) budget_->give_back(owner_, bytes_ - bytes);
  bytes_ = bytes;
  return true;
}

void MemoryBudget::Lease::swap(Lease& other) noexcept {
  std::swap(budget_, other.budget_);
  std::swap(owner_, other.owner_);
  std::swap(most_, other.most_);
  std::swap(bytes_, other.bytes_);
}

bool MemoryBudget::take(const PrefixOwner& owner, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t free = total_ - held_;
  if (bytes > free) return false;
  const auto known = by_owner_.find(owner);
  const uint64_t own = (known == by_owner_.end() ? 0 : known->second) + bytes;
  if (shared_ && own > free - bytes) return false;
  by_owner_[owner] = own;
  held_ += bytes;
  return true;
}

void MemoryBudget::give_back(const PrefixOwner& owner, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto known = by_owner_.find(owner);
  held_ -= bytes;
  known->second -= bytes;
  if (known->second == 0) by_owner_.erase(known);
}

uint64_t MemoryBudget::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

}  // namespace deltaserve
