#include "engine/step/state_pool.h"

#include <utility>

#include "kernels/base/check.h"

namespace deltaserve {

StateSlot::StateSlot(StateSlot&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), index_(std::exchange(other.index_, -1)) {}

StateSlot& StateSlot::operator=(StateSlot&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  index_ = std::exchange(other.index_, -1);
  return *this;
}

int StateSlot::index() const {
  DS_CHECK(pool_ != nullptr);
  return index_;
}

void StateSlot::release() {
  if (pool_ == nullptr) return;
  pool_->free_.push_back(index_);
  pool_ = nullptr;
  index_ = -1;
}

StatePool::StatePool(int num_slots) : num_slots_(num_slots) {
  DS_CHECK(num_slots > 0);
  free_.reserve(num_slots);  // release() never allocates
  for (int slot = num_slots - 1; slot >= 0; --slot) free_.push_back(slot);
}

StatePool::~StatePool() {
  DS_CHECK(num_free() == num_slots_);
}

StateSlot StatePool::acquire() {
  if (free_.empty()) return {};
  const int index = free_.back();
  free_.pop_back();
  return {this, index};
}

}  // namespace deltaserve
