#include "server/net/bound_port.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

absl::Status cannot_listen(const std::string& address, const BoundPort::Flags& flags,
                           const error_code& ec) {
  std::string why = ec.message();
  if (ec == asio::error::address_in_use) {
    absl::StrAppend(&why, "; choose another port with ", flags.port, ", or any free one with ",
                    flags.port, " 0");
  } else if (ec == boost::system::errc::permission_denied) {
    absl::StrAppend(&why,
                    "; a port below 1024 needs root or CAP_NET_BIND_SERVICE, choose another with ",
                    flags.port);
  } else if (ec == boost::system::errc::address_not_available) {
    why = absl::StrCat("no interface of this machine has the address of ", flags.host);
  } else if (ec == asio::error::host_not_found || ec == asio::error::host_not_found_try_again) {
    why = absl::StrCat(flags.host, " is no address, and no host of that name is found");
  }
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address, " (", flags.host, ", ", flags.port, "): ", why));
}

std::string address_text(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
}

}  // namespace

absl::StatusOr<BoundPort> BoundPort::bind(const std::string& host, uint16_t port,
                                          const Flags& flags) {
  asio::io_context io;
  error_code ec;
  const auto found =
      tcp::resolver(io).resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (!ec && found.empty()) ec = asio::error::host_not_found;
  if (ec) return cannot_listen(address_text(host, port), flags, ec);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (ec) return cannot_listen(address_text(host, port), flags, ec);
  const int real_port = acceptor.local_endpoint().port();
  return BoundPort(acceptor.release(), endpoint.address(), address_text(host, real_port), flags);
}

BoundPort::BoundPort(BoundPort&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      address_(std::move(other.address_)),
      text_(std::move(other.text_)),
      flags_(std::move(other.flags_)) {}

BoundPort::~BoundPort() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::Status BoundPort::listen(int backlog, tcp::acceptor* acceptor) {
  error_code ec;
  acceptor->assign(address_.is_v6() ? tcp::v6() : tcp::v4(), descriptor_, ec);
  if (!ec) {
    descriptor_ = -1;
    acceptor->listen(backlog, ec);
  }
  return ec ? cannot_listen(text_, flags_, ec) : absl::OkStatus();
}

}  // namespace deltaserve
