// Wakes a coroutine on its strand from any thread.
#pragma once
#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <utility>

namespace deltaserve {

// Owned by shared_ptr; senders hold a weak one, so a signal after the connection's end does
// nothing.
class Wakeup : public std::enable_shared_from_this<Wakeup> {
 public:
  using TimePoint = boost::asio::steady_timer::time_point;

  explicit Wakeup(const boost::asio::any_io_executor& strand) : timer_(strand) {}

  // May be called by any thread. Signals between two waits become one.
  void signal() {
    if (posted_.exchange(true, std::memory_order_acq_rel)) return;
    boost::asio::post(timer_.get_executor(), [self = shared_from_this()] {
      self->posted_.store(false, std::memory_order_release);
      self->signalled_ = true;
      self->timer_.cancel();
    });
  }

  // Call it on the strand, with one waiter. Returns at once if there was a signal since the last
  // wait. Returns false if there was no signal before `until`. Throws when the coroutine is
  // cancelled.
  boost::asio::awaitable<bool> wait(TimePoint until = TimePoint::max()) {
    while (!signalled_) {
      if (TimePoint::clock::now() >= until) co_return false;
      timer_.expires_at(until);
      co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
    signalled_ = false;
    co_return true;
  }

 private:
  boost::asio::steady_timer timer_;
  std::atomic<bool> posted_{false};
  bool signalled_ = false;  // used on the strand only
};

}  // namespace deltaserve
