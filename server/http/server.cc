#include "server/http/server.h"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/descriptors.h"
#include "server/base/process.h"
#include "server/http/connection.h"
#include "server/http/reply.h"
#include "server/net/acceptor.h"
#include "server/net/byte_stream.h"
#include "server/service/request_id.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using error_code = boost::system::error_code;

constexpr auto kDrainPoll = std::chrono::milliseconds(10);
constexpr auto kLastMoment = std::chrono::milliseconds(500);

asio::awaitable<void> serve_counted(ServerContext& context, tcp::socket socket,
                                    ConnectionPlaces::Place place) {
  co_await serve_connection(context, std::move(socket), place.key());
}

class Server : public HttpServer {
 public:
  Server(const HttpOptions& options, Services& services)
      : options_(options),
        services_(services),
        context_{.services = services, .cors = options.cors, .tls = options.tls},
        io_(options.io_threads),
        acceptor_(io_),
        signals_(io_) {}

  absl::Status open(BoundPort port) {
    const bool private_and_open = port.address().is_loopback() && services_.keys.get()->empty();
    if (!options_.allowed_hosts.empty() || private_and_open) {
      absl::StatusOr<HostPolicy> hosts = HostPolicy::only(options_.allowed_hosts);
      if (!hosts.ok()) return hosts.status();
      context_.hosts = *std::move(hosts);
    }
    // Signals are handled before anyone can learn the address and send one.
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.add(SIGHUP);
    wait_for_signal();
    url_ = absl::StrCat(options_.tls != nullptr ? "https://" : "http://", port.text());
    const int backlog = services_.limits.listen_backlog;
    if (absl::Status status = acceptor_.listen(std::move(port), backlog); !status.ok()) {
      return status;
    }
    services_.overload.watch({
        .name = "http_connections",
        .use =
            [this] {
              return Overload::Use{static_cast<uint64_t>(context_.connections.size()),
                                   static_cast<uint64_t>(services_.limits.connections)};
            },
        .trim = [this] { context_.idle_connections.close_half(); },
        .users = Overload::kHttpConnections,
    });
    // Connections of both ports take most of them, but not all. The first call opens what counts
    // them also when none are left.
    own_descriptors_ = open_descriptors();
    services_.overload.watch({
        .name = "descriptors",
        .use = [this] { return used_descriptors(); },
        .trim = [this] { context_.idle_connections.close_half(); },
    });
    return absl::OkStatus();
  }

  std::string url() const override { return url_; }

  void run() override {
    own_descriptors_ = open_descriptors();  // with those of gRPC, and before the first connection
    acceptor_.start(
        {.connected = [this](tcp::socket socket,
                             const asio::ip::address& peer) { connected(std::move(socket), peer); },
         .changed =
             [this](const error_code& error) {
               services_.ports.set_accepting("http", !error, error.message());
             }});
    std::vector<std::thread> threads;
    try {
      for (int i = 1; i < options_.io_threads; ++i) threads.emplace_back([this] { run_io(); });
    } catch (const std::system_error& error) {
      // The threads that were made serve all connections, this one at least.
      services_.log.write(LogLevel::kWarning, "few_threads",
                          LogFields().text("error", error.what()));
    }
    run_io();
    for (std::thread& thread : threads) thread.join();
    context_.stopping = true;
  }

  void drain() override {
    if (draining_.exchange(true)) return;
    services_.log.write(LogLevel::kInfo, "drain",
                        LogFields().integer("requests", context_.requests.load()));
    services_.drain();
    asio::co_spawn(io_, stop_when_idle(), asio::detached);
  }

  void stop() override { io_.stop(); }

 private:
  // Leaves out those that the process needs while nobody is connected: no measure could free them,
  // so where there are few, a measure would never end.
  Overload::Use used_descriptors() const {
    const uint64_t open = open_descriptors();
    const uint64_t limit = descriptor_limit();
    const uint64_t own = own_descriptors_;
    if (limit <= own) return {open, limit};
    return {open - std::min(open, own), limit - own};
  }

  void run_io() {
    while (!io_.stopped()) {
      try {
        io_.run();
      } catch (const std::exception&) {
        // Memory ran out in a handler: its connection is lost, the others go on.
      }
    }
  }

  void wait_for_signal() {
    signals_.async_wait([this](const error_code& ec, int signal) {
      if (ec) return;
      if (signal == SIGHUP) {
        if (options_.on_hangup) options_.on_hangup();
      } else if (draining_) {
        exit_after(kLastMoment, EXIT_FAILURE);
        return stop();
      } else {
        drain();
      }
      wait_for_signal();
    });
  }

  // Connections are still accepted while draining, so that clients and probes get an answer.
  asio::awaitable<void> stop_when_idle() {
    const auto start = std::chrono::steady_clock::now();
    const bool endless = options_.drain_timeout == std::chrono::seconds(0);
    auto end = start + options_.drain_timeout;
    bool cut = false;
    asio::steady_timer timer(io_);
    while (!(cut || services_.engine.drained()) || context_.requests > 0) {
      timer.expires_after(kDrainPoll);
      co_await timer.async_wait(kAsTuple);
      if (endless || std::chrono::steady_clock::now() < end) continue;
      if (cut) break;  // nobody reads what was left to say
      cut = true;
      end += services_.limits.farewell;
      services_.log.write(LogLevel::kWarning, "drain_timeout",
                          LogFields().integer("requests", context_.requests.load()));
      services_.engine.stop();  // their streams end, and say so
    }
    stop();
  }

  void connected(tcp::socket socket, const asio::ip::address& peer) {
    auto place = services_.overload.takes_connections(Overload::kHttpConnections)
                     ? context_.connections.take(peer)
                     : std::nullopt;
    if (!place) return turn_away(socket, context_.tls != nullptr);
    auto strand = socket.get_executor();
    asio::co_spawn(strand, serve_counted(context_, std::move(socket), *std::move(place)),
                   asio::detached);
  }

  // Tries once, without waiting, to tell the client why.
  static void turn_away(tcp::socket& socket, bool tls) {
    if (tls) return;  // there is no saying it without a handshake
    RequestHead head;
    head.request_id = make_request_id();
    const HttpReply reply = error_reply(unavailable_error("too many connections"));
    const std::string text = reply_head(head, reply) + reply.body;
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
  }

  const HttpOptions options_;
  Services& services_;
  std::atomic<bool> draining_{false};  // the first signal has come
  std::atomic<uint64_t> own_descriptors_{0};
  // It comes before io_ because coroutines that are destroyed with io_ still use it.
  ServerContext context_;
  asio::io_context io_;
  Acceptor acceptor_;
  asio::signal_set signals_;
  std::string url_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpOptions& options,
                                                               BoundPort port, Services& services) {
  auto server = std::make_unique<Server>(options, services);
  const absl::Status status = server->open(std::move(port));
  if (!status.ok()) return status;
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace deltaserve
