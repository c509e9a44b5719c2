#include "server/grpc/listener.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
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

constexpr auto kAcceptRetry = std::chrono::milliseconds(50);

}  // namespace

class GrpcListener::Place {
 public:
  Place(GrpcListener* listener, asio::ip::address address)
      : listener_(listener), address_(std::move(address)) {}
  Place(Place&& other) noexcept
      : listener_(std::exchange(other.listener_, nullptr)), address_(other.address_) {}
  ~Place() {
    if (listener_ != nullptr) listener_->free_place(address_);
  }

 private:
  GrpcListener* listener_;
  const asio::ip::address address_;
};

// One connection, on a strand.
class GrpcListener::Connection {
 public:
  Connection(GrpcListener& listener, tcp::socket socket)
      : listener_(listener),
        limits_(listener.context_.limits),
        inner_(socket.get_executor()),
        stream_(std::move(socket), listener.tls_ != nullptr ? listener.tls_->get() : TlsContext()),
        guard_(limits_.frames) {}

  awaitable<void> run() {
    stream_.set_send_buffer(listener_.context_.services.limits.send_buffer_bytes);
    stream_.expires_after(limits_.handshake);
    const bool open = co_await stream_.handshake();
    if (!open) co_return;
    // Who says nothing costs the library nothing.
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
    return !ec && listener_.hand_over_(descriptor);
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
      // By then the call has been cut off, and still the client reads nothing.
      stream_.expires_after(limits_.write_stall + 2 * limits_.stall_grace);
      if (co_await stream_.write(asio::buffer(bytes.data(), size))) co_return;
      stream_.expires_never();
    }
  }

  GrpcListener& listener_;
  const GrpcLimits& limits_;
  asio::local::stream_protocol::socket inner_;  // our end of the pair
  ByteStream stream_;
  FrameGuard guard_;
};

GrpcListener::GrpcListener(GrpcContext& context, SharedTls tls)
    : context_(context), tls_(std::move(tls)), acceptor_(context.io) {}

GrpcListener::~GrpcListener() = default;

absl::Status GrpcListener::open(BoundPort port) {
  address_ = port.text();
  return port.listen(context_.services.limits.listen_backlog, &acceptor_);
}

void GrpcListener::start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  asio::co_spawn(context_.io, accept_connections(), asio::detached);
}

void GrpcListener::close() {
  asio::post(context_.io, [this] {
    error_code ignored;
    acceptor_.close(ignored);
  });
}

awaitable<void> GrpcListener::accept_connections() {
  asio::steady_timer timer(context_.io);
  for (;;) {
    tcp::socket socket(asio::make_strand(context_.io));
    auto [ec] = co_await acceptor_.async_accept(socket, kAsTuple);
    if (!acceptor_.is_open()) co_return;
    if (ec) {
      timer.expires_after(kAcceptRetry);  // out of descriptors, most likely
      co_await timer.async_wait(kAsTuple);
      continue;
    }
    const tcp::endpoint peer = socket.remote_endpoint(ec);
    if (ec || !take_place(peer.address())) continue;
    auto strand = socket.get_executor();
    asio::co_spawn(
        strand,
        [](GrpcListener& listener, tcp::socket own, Place) -> awaitable<void> {
          Connection connection(listener, std::move(own));
          co_await connection.run();
        }(*this, std::move(socket), Place(this, peer.address())),
        asio::detached);
  }
}

bool GrpcListener::take_place(const asio::ip::address& address) {
  const std::lock_guard lock(mutex_);
  int& own = connections_[address];
  const bool room = num_connections_ < context_.limits.connections &&
                    own < context_.limits.connections_per_address;
  own += room ? 1 : 0;
  num_connections_ += room ? 1 : 0;
  if (own == 0) connections_.erase(address);
  if (!room) context_.services.metrics.grpc_connections_closed.add({"too many connections"});
  return room;
}

void GrpcListener::free_place(const asio::ip::address& address) {
  const std::lock_guard lock(mutex_);
  --num_connections_;
  const auto own = connections_.find(address);
  if (--own->second == 0) connections_.erase(own);
  if (num_connections_ == 0) freed_.notify_all();
}

void GrpcListener::wait_until_empty(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  freed_.wait_for(lock, most, [this] { return num_connections_ == 0; });
}

}  // namespace deltaserve
