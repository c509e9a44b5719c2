// Accepts the connections of a port. If file descriptors or memory run out, the port is deaf for a
// while and accepts connections again as soon as it can.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <functional>

#include "absl/status/status.h"
#include "server/net/bound_port.h"

namespace deltaserve {

// Thread safety: call listen() first, then start(); close() from any thread. It outlives the
// threads of `io`.
class Acceptor {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using ErrorCode = boost::system::error_code;
  struct Events {
    // Takes a connection, whose socket has a strand of its own.
    std::function<void(Socket, const boost::asio::ip::address& peer)> connected;
    // Reports that the port takes no connections, and why; without an error, that it does again.
    std::function<void(const ErrorCode& error)> changed;
  };

  explicit Acceptor(boost::asio::io_context& io);

  // Listens on the port, once. Errors are those of BoundPort::listen().
  absl::Status listen(BoundPort port, int backlog);

  // Takes connections from now on.
  void start(Events events);
  // Makes the port stop accepting soon.
  void close();

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> accept_one();
  boost::asio::awaitable<void> wait_and_retry();
  void take(Socket socket);
  void set_deaf(const ErrorCode& error);

  boost::asio::io_context& io_;
  boost::asio::strand<boost::asio::io_context::executor_type> strand_;  // of all that follows
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  Events events_;
  bool deaf_ = false;
};

}  // namespace deltaserve
