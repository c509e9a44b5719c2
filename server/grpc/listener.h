// The gRPC port. Its connections are bounded and watched here, and TLS ends here; the library gets
// the bytes through a socket pair for each connection.
#pragma once
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "server/grpc/grpc_context.h"
#include "server/net/acceptor.h"
#include "server/net/bound_port.h"
#include "server/net/connection_places.h"
#include "server/net/tls.h"

namespace deltaserve {

class GrpcListener {
 public:
  // Gives a connected socket to the library, which will close it. Returns false if the library no
  // longer accepts sockets.
  using HandOver = std::function<bool(int descriptor)>;

  // `context` must outlive the listener. If `tls` is null, connections are in the clear.
  GrpcListener(GrpcContext& context, SharedTls tls);
  ~GrpcListener();

  // Takes the port. Returns UNAVAILABLE if another process listens on it. Call this function first.
  absl::Status open(BoundPort port);
  std::string address() const { return address_; }  // with the real port

  // Takes connections from now on, on the threads of the context.
  void start(HandOver hand_over);
  // Accepts no more connections. Open ones go on.
  void close();
  // Waits until no connection is left, at most for this long.
  void wait_until_empty(std::chrono::milliseconds most);

 private:
  class Connection;

  void connected(boost::asio::ip::tcp::socket socket, const boost::asio::ip::address& peer);

  GrpcContext& context_;
  const SharedTls tls_;
  HandOver hand_over_;
  Acceptor acceptor_;
  std::string address_;
  ConnectionPlaces connections_;
};

}  // namespace deltaserve
