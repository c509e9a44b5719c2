// Counts the memory of the values of one render.
#pragma once
#include <cstddef>
#include <utility>

namespace deltaserve {

struct MemoryCount {
  size_t live = 0;
};

// Adds `bytes` to a count for its lifetime. The count must outlive it.
class MemoryCharge {
 public:
  MemoryCharge() = default;  // for a value that no render made
  MemoryCharge(MemoryCount* count, size_t bytes) : count_(count) { resize(bytes); }
  MemoryCharge(MemoryCharge&& other) noexcept
      : count_(std::exchange(other.count_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryCharge& operator=(MemoryCharge&& other) noexcept {
    if (this == &other) return *this;
    resize(0);
    count_ = std::exchange(other.count_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~MemoryCharge() { resize(0); }

  void resize(size_t bytes) {
    if (count_ == nullptr) return;
    count_->live += bytes;
    count_->live -= bytes_;
    bytes_ = bytes;
  }

 private:
  MemoryCount* count_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace deltaserve
