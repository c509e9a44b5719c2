// The running requests and how much memory each holds.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

namespace deltaserve {

// Thread-safe.
class LargeRequests {
 public:
  // A request is in the list for as long as its entry lives.
  class Entry {
   public:
    Entry() = default;
    Entry(Entry&& other) noexcept : list_(std::exchange(other.list_, nullptr)), id_(other.id_) {}
    Entry& operator=(Entry&& other) noexcept {
      std::swap(list_, other.list_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Entry() {
      if (list_ != nullptr) list_->remove(id_);
    }

    // Says how much the request holds from now on.
    void set_bytes(uint64_t bytes) {
      if (list_ != nullptr) list_->set_bytes(id_, bytes);
    }

   private:
    friend class LargeRequests;
    Entry(LargeRequests* list, uint64_t id) : list_(list), id_(id) {}

    LargeRequests* list_ = nullptr;
    uint64_t id_ = 0;
  };

  // `end` ends the request. It is called at most once, on any thread, while the entry lives, and
  // must return at once.
  Entry add(uint64_t bytes, std::function<void()> end) {
    const std::lock_guard lock(mutex_);
    requests_.emplace(++last_id_, Request{bytes, std::move(end)});
    return {this, last_id_};
  }

  // Ends the request that holds most of those that were not yet ended. Returns false if there is
  // none.
  bool end_largest() {
    const std::lock_guard lock(mutex_);
    Request* largest = nullptr;
    for (auto& [id, request] : requests_) {
      if (request.end == nullptr) continue;
      if (largest == nullptr || request.bytes > largest->bytes) largest = &request;
    }
    if (largest == nullptr) return false;
    std::exchange(largest->end, nullptr)();
    return true;
  }

 private:
  struct Request {
    uint64_t bytes;
    std::function<void()> end;  // null: it was called
  };

  void set_bytes(uint64_t id, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    requests_.at(id).bytes = bytes;
  }

  void remove(uint64_t id) {
    const std::lock_guard lock(mutex_);
    requests_.erase(id);
  }

  std::mutex mutex_;
  std::map<uint64_t, Request> requests_;  // guarded by mutex_, like the next
  uint64_t last_id_ = 0;
};

}  // namespace deltaserve
