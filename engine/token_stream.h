// The bounded hand-over of updates from the engine thread to the one reader of a request.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/doorbell.h"
#include "engine/request.h"

namespace deltaserve {

// Thread safety: the engine thread calls push() and full(); one reader calls the rest; cancel() may
// come from anywhere. A reader may outlive the engine.
class TokenStream {
 public:
  // `notify` is called on the engine thread, after an update was queued, only when the queue was
  // empty before; it must return at once and must not call back into the stream or the engine. It
  // may still run when the reader has the last update, so it shares what it touches. It is
  // destroyed on the engine thread after the finished update: owning the reader makes no lasting
  // cycle. `engine` is rung when the engine has something to do: a full stream was read, or a
  // cancel.
  TokenStream(size_t capacity, std::function<void()> notify,
              std::shared_ptr<Doorbell> engine = nullptr);

  // ---- Reader

  // Everything queued so far, merged into one update; nullopt when nothing is.
  std::optional<TokenUpdate> take();
  // Blocks for the next merged update. After a finished one there is nothing more: nullopt.
  std::optional<TokenUpdate> wait();
  // The engine drops the request and frees its slot within a step. Updates may still arrive until
  // one with kCancelled. Dropping the last reference that Engine::submit gave out does the same.
  void cancel();

  // ---- Engine

  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // A full stream's sequence is not scheduled until its reader has caught up.
  bool full() const;
  // Takes an update beyond the capacity too. Updates of mere prompt progress join the one before,
  // so that they alone fill no stream. Nothing may follow a finished update.
  void push(TokenUpdate update);

 private:
  std::optional<TokenUpdate> take_all(std::unique_lock<std::mutex> lock);

  const size_t capacity_;         // updates
  std::function<void()> notify_;  // the engine thread's
  bool finished_pushed_ = false;  // the engine thread's
  const std::shared_ptr<Doorbell> engine_;
  std::atomic<bool> cancelled_{false};

  // std::mutex and not absl's: a packaged Abseil is opaque to ThreadSanitizer.
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<TokenUpdate> queue_;  // guarded by mutex_
  bool finished_ = false;           // guarded by mutex_: a finished update was taken
};

}  // namespace deltaserve
