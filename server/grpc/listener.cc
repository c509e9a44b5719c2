#include "server/grpc/listener.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "models/base/text.h"
#include "server/grpc/frame_guard.h"
#include "server/net/byte_stream.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using error_code = boost::system::error_code;

}  // namespace

// One connection, on a strand.
class GrpcListener::Connection {
 public:
  Connection(GrpcListener& listener, tcp::socket socket, ConnectionPlaces::Place place)
      : listener_(listener),
        place_(std::move(place)),
        limits_(listener.context_.limits),
        inner_(socket.get_executor()),
        stream_(std::move(socket), listener.tls_ != nullptr ? listener.tls_->get() : TlsContext()),
        guard_(limits_.frames) {}

  awaitable<void> run() {
    stream_.set_send_buffer(listener_.context_.services.limits.send_buffer_bytes);
    stream_.expires_after(limits_.handshake);
    const bool open = co_await stream_.handshake();
    if (!open) co_return;
    // A client that sends nothing costs the library nothing.
    std::vector<char> start(limits_.piece_bytes);
    size_t size = 0;
    while (!guard_.opened()) {
      const auto read =
          co_await stream_.read_some(asio::buffer(start.data() + size, start.size() - size));
      if (read.error || !passes({start.data() + size, read.size})) co_return;
      size += read.size;
    }
    stream_.expires_never();
    start.resize(size);
    if (!hand_over()) co_return;
    using namespace asio::experimental::awaitable_operators;
    co_await (from_client(std::move(start)) || from_library());
  }

 private:
  bool passes(std::span<const char> bytes) {
    const std::string_view fault = guard_.check(bytes, ByteStream::Clock::now());
    if (fault.empty()) return true;
    Services& services = listener_.context_.services;
    services.metrics.grpc_connections_closed.add({fault});
    services.log.write(LogLevel::kWarning, "grpc_connection_closed",
                       LogFields().text("reason", fault));
    return false;
  }

  bool hand_over() {
    asio::local::stream_protocol::socket library(inner_.get_executor());
    error_code ec;
    asio::local::connect_pair(inner_, library, ec);
    if (!ec) library.native_non_blocking(true, ec);
    if (ec) return false;
    const asio::socket_base::send_buffer_size buffer(
        listener_.context_.services.limits.send_buffer_bytes);
    inner_.set_option(buffer, ec);
    library.set_option(buffer, ec);
    const int descriptor = library.release(ec);
    if (ec) return false;
    listener_.context_.peers.set(descriptor, place_.key());
    return listener_.hand_over_(descriptor);
  }

  awaitable<void> from_client(std::vector<char> bytes) {
    size_t size = bytes.size();
    for (;;) {
      auto [ec, written] =
          co_await asio::async_write(inner_, asio::buffer(bytes.data(), size), kAsTuple);
      if (ec) co_return;
      bytes.resize(limits_.piece_bytes);
      const auto read = co_await stream_.read_some(asio::buffer(bytes));
      if (read.error || !passes({bytes.data(), read.size})) co_return;
      size = read.size;
    }
  }

  awaitable<void> from_library() {
    std::vector<char> bytes(limits_.piece_bytes);
    for (;;) {
      auto [ec, size] = co_await inner_.async_read_some(asio::buffer(bytes), kAsTuple);
      if (ec) co_return;
      // The call has been cut off before this deadline, and the client still reads nothing.
      stream_.expires_after(limits_.write_stall + 2 * limits_.stall_grace);
      if (co_await stream_.write(asio::buffer(bytes.data(), size))) co_return;
      stream_.expires_never();
    }
  }

  GrpcListener& listener_;
  const ConnectionPlaces::Place place_;
  const GrpcLimits& limits_;
  asio::local::stream_protocol::socket inner_;  // our end of the pair
  ByteStream stream_;
  FrameGuard guard_;
};

GrpcListener::GrpcListener(GrpcContext& context, SharedTls tls)
    : context_(context),
      tls_(std::move(tls)),
      acceptor_(context.io),
      connections_(context.limits.connections, context.limits.connections_per_address) {}

GrpcListener::~GrpcListener() = default;

absl::Status GrpcListener::open(BoundPort port) {
  address_ = port.text();
  const int backlog = context_.services.limits.listen_backlog;
  if (absl::Status status = acceptor_.listen(std::move(port), backlog); !status.ok()) return status;
  context_.services.overload.watch({
      .name = "grpc_connections",
      .use =
          [this] {
            return Overload::Use{static_cast<uint64_t>(connections_.size()),
                                 static_cast<uint64_t>(context_.limits.connections)};
          },
      .users = Overload::kGrpcConnections,
  });
  return absl::OkStatus();
}

void GrpcListener::start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  acceptor_.start(
      {.connected = [this](tcp::socket socket,
                           const asio::ip::address& peer) { connected(std::move(socket), peer); },
       .changed =
           [this](const error_code& error) {
             context_.services.ports.set_accepting("grpc", !error, error.message());
           }});
}

void GrpcListener::close() {
  acceptor_.close();
}

void GrpcListener::connected(tcp::socket socket, const asio::ip::address& peer) {
  Services& services = context_.services;
  auto place = services.overload.takes_connections(Overload::kGrpcConnections)
                   ? connections_.take(peer)
                   : std::nullopt;
  if (!place) return services.metrics.grpc_connections_closed.add({"too many connections"});
  auto strand = socket.get_executor();
  asio::co_spawn(
      strand,
      [](GrpcListener& listener, tcp::socket own,
         ConnectionPlaces::Place taken) -> awaitable<void> {
        Connection connection(listener, std::move(own), std::move(taken));
        co_await connection.run();
      }(*this, std::move(socket), *std::move(place)),
      asio::detached);
}

void GrpcListener::wait_until_empty(std::chrono::milliseconds most) {
  connections_.wait_until_empty(most);
}

}  // namespace deltaserve
