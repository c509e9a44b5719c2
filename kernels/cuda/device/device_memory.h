// Owns an array in a device's memory, or in host memory that copies use.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {

enum class Place : uint8_t { kDevice, kHost };

// Is empty or has `size` elements, whose values are undefined at first. Must not outlive its
// runtime.
template <class T, Place kPlace = Place::kDevice>
class Memory {
 public:
  Memory() = default;
  // Allocates the elements; the array is empty if there is not enough memory.
  Memory(Runtime& runtime, int64_t size) : runtime_(&runtime) {
    const size_t bytes = static_cast<size_t>(size) * sizeof(T);
    data_ = static_cast<T*>(kPlace == Place::kDevice ? runtime.allocate(bytes)
                                                     : runtime.allocate_host(bytes));
    size_ = data_ == nullptr ? 0 : size;
  }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory() {
    if (data_ == nullptr) return;
    if (kPlace == Place::kDevice) {
      runtime_->release(data_);
    } else {
      runtime_->release_host(data_);
    }
  }

  T* get() const { return data_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * sizeof(T); }
  bool empty() const { return data_ == nullptr; }

 private:
  void swap(Memory& other) {
    std::swap(runtime_, other.runtime_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  Runtime* runtime_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

template <class T>
using HostMemory = Memory<T, Place::kHost>;

}  // namespace deltaserve::cuda
