// The connections that wait for their next request. If descriptors run short, those that have
// waited longest are closed first; HTTP lets a server close a connection at any time between two
// requests.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

namespace deltaserve {

// Thread-safe.
class IdleConnections {
 public:
  // A connection is in the list for as long as its entry lives.
  class Entry {
   public:
    Entry(IdleConnections* list, std::function<void()> close) : list_(*list) {
      const std::lock_guard lock(list_.mutex_);
      id_ = ++list_.last_id_;
      list_.waiting_.emplace(id_, std::move(close));
    }
    ~Entry() {
      const std::lock_guard lock(list_.mutex_);
      list_.waiting_.erase(id_);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    IdleConnections& list_;
    uint64_t id_ = 0;
  };

  // Closes the half that has waited longer. Each `close` is called at most once, in this call and
  // while its entry lives; it must only request the closing and return.
  void close_half() {
    const std::lock_guard lock(mutex_);
    for (size_t left = (waiting_.size() + 1) / 2; left > 0; --left) {
      waiting_.begin()->second();
      waiting_.erase(waiting_.begin());
    }
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::function<void()>> waiting_;  // guarded by mutex_; the oldest first
  uint64_t last_id_ = 0;                               // guarded by mutex_
};

}  // namespace deltaserve
