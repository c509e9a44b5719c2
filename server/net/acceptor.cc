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

Acceptor::ErrorCode Acceptor::open(const std::string& host, uint16_t port, int backlog) {
  ErrorCode ec;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (!ec && found.empty()) ec = asio::error::host_not_found;
  if (ec) return ec;
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), ec);
  if (!ec) acceptor_.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) acceptor_.bind(endpoint, ec);
  if (!ec) acceptor_.listen(backlog, ec);
  // For the attempts after an error, which must not wait.
  if (!ec) acceptor_.non_blocking(true, ec);
  return ec;
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

// Ends only when the port is closed. What fails for want of memory costs one connection.
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

// An attempt that would wait for a client shows that the port takes connections.
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
