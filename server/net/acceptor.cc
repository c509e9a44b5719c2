#include "server/net/acceptor.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <utility>

#include "server/net/byte_stream.h"

namespace deltaserve {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;

namespace {

constexpr auto kRetry = std::chrono::milliseconds(50);

}  // namespace

Acceptor::Acceptor(asio::io_context& io)
    : io_(io), strand_(asio::make_strand(io)), acceptor_(strand_), retry_(strand_) {}

absl::Status Acceptor::listen(BoundPort port, int backlog) {
  absl::Status status = port.listen(backlog, &acceptor_);
  ErrorCode ec;
  // The attempts after an error must not wait.
  if (status.ok()) acceptor_.non_blocking(true, ec);
  return ec ? absl::UnavailableError(ec.message()) : status;
}

void Acceptor::start(Events events) {
  events_ = std::move(events);
  asio::co_spawn(strand_, run(), asio::detached);
}

void Acceptor::close() {
  asio::post(strand_, [this] {
    ErrorCode ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  });
}

// Ends only when the port is closed. If memory runs out, one connection is lost.
awaitable<void> Acceptor::run() {
  while (acceptor_.is_open()) {
    try {
      co_await accept_one();
    } catch (const std::exception&) {
      set_deaf(asio::error::no_memory);
    }
  }
}

awaitable<void> Acceptor::accept_one() {
  if (deaf_) co_return co_await wait_and_retry();
  tcp::socket socket(asio::make_strand(io_));
  auto [ec] = co_await acceptor_.async_accept(socket, kAsTuple);
  if (!acceptor_.is_open()) co_return;
  if (ec) {
    set_deaf(ec);
  } else {
    take(std::move(socket));
  }
}

// If accepting would block, the port takes connections again.
awaitable<void> Acceptor::wait_and_retry() {
  retry_.expires_after(kRetry);
  co_await retry_.async_wait(kAsTuple);
  if (!acceptor_.is_open()) co_return;
  tcp::socket socket(asio::make_strand(io_));
  ErrorCode ec;
  acceptor_.accept(socket, ec);
  if (ec && ec != asio::error::would_block) co_return;
  set_deaf({});
  if (!ec) take(std::move(socket));
}

void Acceptor::take(Socket socket) {
  ErrorCode ec;
  const tcp::endpoint peer = socket.remote_endpoint(ec);
  if (!ec) events_.connected(std::move(socket), peer.address());
}

void Acceptor::set_deaf(const ErrorCode& error) {
  const bool deaf = static_cast<bool>(error);
  if (deaf != std::exchange(deaf_, deaf) && events_.changed) events_.changed(error);
}

}  // namespace deltaserve
