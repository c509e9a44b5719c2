// A bounded queue of updates from the engine thread to the one reader of a request.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/base/doorbell.h"
#include "engine/sequence/request.h"

namespace deltaserve {

// Thread safety: the engine thread calls push() and full(), any thread may call cancel(), and one
// reader calls the rest. A reader may outlive the engine.
class TokenStream {
 public:
  // `notify` is called on the engine thread after an update was queued, but only if the queue was
  // empty before. It must return at once and must not call the stream or the engine. It may still
  // run when the reader has the last update, so it must share ownership of what it uses. It is
  // destroyed on the engine thread after the finished update, so that a `notify` that owns the
  // reader forms no lasting cycle. The stream rings `engine` when a full stream was read and when
  // the reader cancels.
  TokenStream(size_t capacity, std::function<void()> notify,
              std::shared_ptr<Doorbell> engine = nullptr);

  // ---- Reader

  // Returns all queued updates merged into one; nullopt if there are none.
  std::optional<TokenUpdate> take();
  // Blocks until there are updates and returns them merged into one; nullopt after a finished
  // update.
  std::optional<TokenUpdate> wait();
  // Cancels the request: the engine drops it and frees its slot within a step. Updates may still
  // arrive until one with kCancelled. Dropping the last pointer that Engine::submit returned does
  // the same.
  void cancel();

  // ---- Engine

  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // Returns true if the reader lags: the sequence of a full stream gets no rows until it has caught
  // up.
  bool full() const;
  // Returns the time since which the reader has left updates unread; nullopt if there are none.
  std::optional<SteadyTime> unread_since() const;
  // Queues an update, even beyond the capacity. Updates that only report prompt progress are merged
  // into the one before, so that they alone fill no stream. Nothing may follow a finished update.
  void push(TokenUpdate update);

 private:
  std::optional<TokenUpdate> take_all(std::unique_lock<std::mutex> lock);
  bool is_full() const;

  const size_t capacity_;         // in updates; of bytes it is engine_limits::kStreamBytes
  std::function<void()> notify_;  // used by the engine thread
  bool finished_pushed_ = false;  // used by the engine thread
  const std::shared_ptr<Doorbell> engine_;
  std::atomic<bool> cancelled_{false};

  // std::mutex and not absl's: a packaged Abseil is opaque to ThreadSanitizer.
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<TokenUpdate> queue_;  // guarded by mutex_, like the next
  size_t queue_bytes_ = 0;
  SteadyTime unread_since_;  // if the queue is not empty
  bool finished_ = false;    // a finished update was taken
};

}  // namespace deltaserve
