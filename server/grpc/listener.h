// The gRPC port. Its connections are bounded and watched here, and TLS ends here; the library gets
// the bytes through a socket pair for each connection.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "server/grpc/grpc_context.h"
#include "server/net/bound_port.h"
#include "server/net/tls.h"

namespace deltaserve {

class GrpcListener {
 public:
  // Gives a connected socket to the library, which closes it. False: it takes none any more.
  using HandOver = std::function<bool(int descriptor)>;

  // `context` outlives the listener. A null `tls`: connections are in the clear.
  GrpcListener(GrpcContext& context, SharedTls tls);
  ~GrpcListener();

  // UNAVAILABLE: somebody else listens on the port. Call it first.
  absl::Status open(BoundPort port);
  std::string address() const { return address_; }  // with the real port

  // Takes connections from now on, on the threads of the context.
  void start(HandOver hand_over);
  // Takes no more. Those that are there go on.
  void close();
  // Waits until no connection is left, at most for this long.
  void wait_until_empty(std::chrono::milliseconds most);

 private:
  class Connection;
  // Counts a connection for as long as it lives.
  class Place;

  boost::asio::awaitable<void> accept_connections();
  bool take_place(const boost::asio::ip::address& address);
  void free_place(const boost::asio::ip::address& address);

  GrpcContext& context_;
  const SharedTls tls_;
  HandOver hand_over_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::string address_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::map<boost::asio::ip::address, int> connections_;  // guarded by mutex_, as the next
  int num_connections_ = 0;
};

}  // namespace deltaserve
