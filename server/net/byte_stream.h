// A socket with or without TLS, and one deadline for the operations that run on it.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "server/net/tls.h"

namespace deltaserve {

// Errors are returned, not thrown.
inline constexpr auto kAsTuple = boost::asio::as_tuple(boost::asio::use_awaitable);

// Thread safety: call everything on the socket's executor, a strand. One read and one write may be
// under way at a time; both may be cancelled.
class ByteStream {
 public:
  using Clock = std::chrono::steady_clock;
  using ErrorCode = boost::system::error_code;
  struct ReadResult {
    ErrorCode error;
    size_t size = 0;
  };

  // A null `tls` means no encryption.
  ByteStream(boost::asio::ip::tcp::socket socket, const TlsContext& tls);
  ~ByteStream();
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  // Must be called first. Returns false if the connection cannot be used.
  boost::asio::awaitable<bool> handshake();
  // Reads at least one byte, or returns an error.
  boost::asio::awaitable<ReadResult> read_some(boost::asio::mutable_buffer buffer);
  // Writes the whole buffer.
  boost::asio::awaitable<ErrorCode> write(boost::asio::const_buffer buffer);
  // Waits until the peer resets the connection.
  boost::asio::awaitable<void> wait_for_reset();

  // Closes the socket at this time, so that all running operations fail. This holds until the next
  // call.
  void expires_at(Clock::time_point time);
  void expires_after(Clock::duration time) { expires_at(Clock::now() + time); }
  void expires_never() { expires_at(Clock::time_point::max()); }
  // Sets a deadline that makes only reading fail, with timed_out. The socket stays open, so that a
  // reply can still be sent. This holds until the next call of either function.
  void reading_expires_after(Clock::duration time);

  // Tells the peer that nothing more is sent. drain() can then read what the peer still sends.
  boost::asio::awaitable<void> shut_down_send();
  // Reads and drops bytes, TLS or not, until the peer closes or the deadline passes.
  boost::asio::awaitable<void> drain();
  void close();
  // Returns a function that closes the connection if, when its strand runs the request, the
  // connection still exists and `*wanted` is still true. The function may be called on any thread.
  std::function<void()> closer(std::shared_ptr<const bool> wanted) const;

  boost::asio::any_io_executor executor();
  void set_send_buffer(int bytes);
  // Counts the bytes of the application written so far, without TLS.
  uint64_t bytes_written() const { return bytes_written_; }

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // the timer's handler uses it, too
  uint64_t bytes_written_ = 0;
};

}  // namespace deltaserve
