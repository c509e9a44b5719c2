// A keep-alive HTTP/1.1 connection of a client, plain TCP.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/loadgen/limits.h"
#include "server/loadgen/stream.h"

namespace deltaserve {

struct HttpTarget {
  std::vector<boost::asio::ip::tcp::endpoint> endpoints;
  std::string authority;      // for the Host header
  std::string authorization;  // the header's value; empty: none
};

struct HttpCall {
  bool post = false;
  std::string path;
  std::string_view body;  // JSON; outlives the call
  std::chrono::steady_clock::time_point deadline;
  // It gets the body of a 200 with an event stream as it arrives, and returns false to stop; then
  // the connection is closed. Empty: the body goes into HttpResult::text.
  std::function<bool(std::string_view)> on_piece;
};

struct HttpResult {
  Failure failure;   // of the connection or the protocol, or a status other than 200
  std::string text;  // of a 200 that is not streamed
};

// A client is used by one coroutine at a time. A request over a connection that the server closed
// before any byte of a reply is sent once more over a new one.
class HttpClient {
 public:
  // The objects behind the pointers must outlive the client.
  HttpClient(boost::asio::io_context* io, const HttpTarget* target, const BenchServeLimits* limits);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // `call` outlives the coroutine.
  boost::asio::awaitable<HttpResult> exchange(const HttpCall& call);

  // Ends the running request with a failure; no other request may follow. Call it on the
  // coroutine's thread.
  void abort();

  int64_t resent() const { return resent_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Reading;  // of one reply

  boost::asio::awaitable<Failure> connect(Clock::time_point deadline);
  boost::asio::awaitable<bool> send(const HttpCall& call);
  boost::asio::awaitable<void> read_reply(const HttpCall& call, Reading* reading);
  boost::asio::awaitable<void> read_body(const HttpCall& call, Reading* reading);
  void close();

  boost::asio::io_context& io_;
  const HttpTarget& target_;
  const BenchServeLimits& limits_;
  std::optional<boost::beast::tcp_stream> stream_;
  boost::beast::flat_buffer buffer_;
  std::vector<char> piece_;
  int64_t resent_ = 0;
  bool open_ = false;
  bool aborted_ = false;
};

}  // namespace deltaserve
