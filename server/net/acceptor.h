// Takes the connections of a port, whatever happens: a port that is deaf for a while, because file
// descriptors or memory ran out, takes connections again as soon as it can.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace deltaserve {

// Thread safety: call open() first, then start(); close() from any thread. It outlives the threads
// of `io`.
class Acceptor {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using ErrorCode = boost::system::error_code;
  struct Events {
    // Takes a connection, whose socket has a strand of its own.
    std::function<void(Socket, const boost::asio::ip::address& peer)> connected;
    // Says that the port takes no connections, and why, or with no error that it does again.
    std::function<void(const ErrorCode& error)> changed;
  };

  explicit Acceptor(boost::asio::io_context& io);

  // Binds and listens; the error has the system's words only.
  ErrorCode open(const std::string& host, uint16_t port, int backlog);
  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  // Takes connections from now on.
  void start(Events events);
  // Takes no more, soon.
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
