// A port that this process has bound before anything listens on it, so that a port in use is found
// before any other work is done.
#pragma once
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

class BoundPort {
 public:
  // The options that choose an address, for messages.
  struct Flags {
    std::string host;
    std::string port;
  };

  // `host` is an address, or a name that is looked up once; port 0 takes any free one. UNAVAILABLE
  // says in a sentence which address cannot be bound, and which of `flags` may help.
  static absl::StatusOr<BoundPort> bind(const std::string& host, uint16_t port, const Flags& flags);

  BoundPort(BoundPort&& other) noexcept;
  BoundPort& operator=(BoundPort&&) = delete;
  ~BoundPort();

  // Gives the port to a new acceptor, which then listens. Call it at most once. Returns UNAVAILABLE
  // if another process has begun to listen on it.
  absl::Status listen(int backlog, boost::asio::ip::tcp::acceptor* acceptor);

  const boost::asio::ip::address& address() const { return address_; }
  // "127.0.0.1:8080" or "[::1]:8080", with the host as it was given and the real port.
  const std::string& text() const { return text_; }

 private:
  BoundPort(int descriptor, boost::asio::ip::address address, std::string text, Flags flags)
      : descriptor_(descriptor),
        address_(std::move(address)),
        text_(std::move(text)),
        flags_(std::move(flags)) {}

  int descriptor_;  // -1: it was given away
  boost::asio::ip::address address_;
  std::string text_;
  Flags flags_;
};

}  // namespace deltaserve
