#include "server/net/byte_stream.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <optional>

namespace deltaserve {

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::awaitable;
using asio::ip::tcp;

namespace {

constexpr size_t kDrainBytes = 16 * 1024;

}  // namespace

struct ByteStream::Impl : std::enable_shared_from_this<Impl> {
  Impl(tcp::socket s, const TlsContext& context)
      : socket(std::move(s)), timer(socket.get_executor()), tls_context(context) {
    if (tls_context != nullptr) tls.emplace(socket, *tls_context);
  }

  void close() {
    ErrorCode ignored;
    socket.close(ignored);
    deadline = Clock::time_point::max();
    timer.cancel();
  }

  void expire() {
    if (!spares_socket) return close();
    deadline = Clock::time_point::max();
    reading_expired = true;  // this also holds for a read that is about to begin
    ErrorCode ignored;
    socket.cancel(ignored);
  }

  void set_deadline(Clock::time_point time, bool spares) {
    deadline = time;
    spares_socket = spares;
    reading_expired = false;
    arm();
  }

  ReadResult read_result(ErrorCode ec, size_t size) const {
    if (ec == asio::error::operation_aborted && reading_expired) ec = asio::error::timed_out;
    return {ec, size};
  }

  // The timer runs to the earliest deadline that was set since it was started. So a deadline that
  // only moves later, as with every write, costs nothing.
  void arm() {
    if (deadline == Clock::time_point::max() || (armed && armed_for <= deadline)) return;
    armed = true;
    armed_for = deadline;
    timer.expires_at(deadline);  // cancels a wait for a later time
    timer.async_wait([weak = weak_from_this(), time = deadline](const ErrorCode& ec) {
      const std::shared_ptr<Impl> impl = weak.lock();
      if (impl == nullptr || (ec && impl->armed_for != time)) return;
      impl->armed = false;
      if (ec) return;
      if (Clock::now() >= impl->deadline) return impl->expire();
      impl->arm();
    });
  }

  tcp::socket socket;
  asio::steady_timer timer;
  const TlsContext tls_context;
  std::optional<ssl::stream<tcp::socket&>> tls;
  Clock::time_point deadline = Clock::time_point::max();
  Clock::time_point armed_for;
  bool armed = false;
  bool spares_socket = false;    // when the deadline passes
  bool reading_expired = false;  // the deadline has passed and the socket was spared
};

ByteStream::ByteStream(tcp::socket socket, const TlsContext& tls)
    : impl_(std::make_shared<Impl>(std::move(socket), tls)) {
  ErrorCode ignored;
  impl_->socket.set_option(tcp::no_delay(true), ignored);
}

ByteStream::~ByteStream() {
  impl_->close();
}

awaitable<bool> ByteStream::handshake() {
  if (!impl_->tls) co_return true;
  auto [ec] = co_await impl_->tls->async_handshake(ssl::stream_base::server, kAsTuple);
  co_return !ec;
}

awaitable<ByteStream::ReadResult> ByteStream::read_some(asio::mutable_buffer buffer) {
  if (impl_->reading_expired) co_return ReadResult{asio::error::timed_out, 0};
  if (impl_->tls) {
    auto [ec, size] = co_await impl_->tls->async_read_some(buffer, kAsTuple);
    // Many peers close without close_notify, which is harmless: HTTP marks its own ends.
    if (ec == ssl::error::stream_truncated) ec = asio::error::eof;
    co_return impl_->read_result(ec, size);
  }
  auto [ec, size] = co_await impl_->socket.async_read_some(buffer, kAsTuple);
  co_return impl_->read_result(ec, size);
}

awaitable<ByteStream::ErrorCode> ByteStream::write(asio::const_buffer buffer) {
  ErrorCode error;
  size_t size = 0;
  if (impl_->tls) {
    std::tie(error, size) = co_await asio::async_write(*impl_->tls, buffer, kAsTuple);
  } else {
    std::tie(error, size) = co_await asio::async_write(impl_->socket, buffer, kAsTuple);
  }
  bytes_written_ += size;
  co_return error;
}

awaitable<void> ByteStream::wait_for_reset() {
  co_await impl_->socket.async_wait(tcp::socket::wait_error, kAsTuple);
}

void ByteStream::expires_at(Clock::time_point time) {
  impl_->set_deadline(time, false);
}

void ByteStream::reading_expires_after(Clock::duration time) {
  impl_->set_deadline(Clock::now() + time, true);
}

awaitable<void> ByteStream::shut_down_send() {
  if (impl_->tls) {
    // Sends our close_notify and does not wait for the peer's, which may never come.
    SSL_set_shutdown(impl_->tls->native_handle(), SSL_RECEIVED_SHUTDOWN);
    co_await impl_->tls->async_shutdown(kAsTuple);
  }
  ErrorCode ignored;
  impl_->socket.shutdown(tcp::socket::shutdown_send, ignored);
}

awaitable<void> ByteStream::drain() {
  std::unique_ptr<char[]> sink(new char[kDrainBytes]);
  for (;;) {
    auto [ec, size] =
        co_await impl_->socket.async_read_some(asio::buffer(sink.get(), kDrainBytes), kAsTuple);
    if (ec) co_return;
  }
}

std::function<void()> ByteStream::closer(std::shared_ptr<const bool> wanted) const {
  return [weak = std::weak_ptr<Impl>(impl_), strand = impl_->socket.get_executor(), wanted] {
    asio::post(strand, [weak, wanted] {
      const std::shared_ptr<Impl> impl = weak.lock();
      if (impl != nullptr && *wanted) impl->close();
    });
  };
}

void ByteStream::close() {
  impl_->close();
}

asio::any_io_executor ByteStream::executor() {
  return impl_->socket.get_executor();
}

void ByteStream::set_send_buffer(int bytes) {
  ErrorCode ignored;
  impl_->socket.set_option(asio::socket_base::send_buffer_size(bytes), ignored);
}

}  // namespace deltaserve
