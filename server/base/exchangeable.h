// A value that may be exchanged for another while others read it.
#pragma once
#include <memory>
#include <mutex>
#include <utility>

namespace deltaserve {

// A reader keeps the value that it took, even after another has replaced it. Thread-safe.
template <class T>
class Exchangeable {
 public:
  explicit Exchangeable(std::shared_ptr<T> value) : value_(std::move(value)) {}

  std::shared_ptr<T> get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void set(std::shared_ptr<T> value) {
    const std::lock_guard lock(mutex_);
    value_.swap(value);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<T> value_;  // guarded by mutex_
};

}  // namespace deltaserve
