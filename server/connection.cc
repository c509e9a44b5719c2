#include "server/connection.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/http_reply.h"
#include "server/openai_response.h"
#include "server/sse.h"
#include "server/wakeup.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using error_code = boost::system::error_code;
using Parser = http::request_parser<http::buffer_body>;
using Started = std::variant<std::unique_ptr<CompletionJob>, ApiError>;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

// Counts a request for as long as it lives, so that a drain knows what to wait for.
class RequestCount {
 public:
  explicit RequestCount(std::atomic<int>* count) : count_(count) { ++*count_; }
  ~RequestCount() { --*count_; }
  RequestCount(const RequestCount&) = delete;
  RequestCount& operator=(const RequestCount&) = delete;

 private:
  std::atomic<int>* const count_;
};

// Between the worker that starts a job and the connection that waits for it, or has gone.
struct Exchange {
  explicit Exchange(asio::any_io_executor strand)
      : wakeup(std::make_shared<Wakeup>(std::move(strand))) {}

  const std::shared_ptr<Wakeup> wakeup;
  std::mutex mutex;
  std::optional<Started> started;  // under mutex, as the next
  bool abandoned = false;
};

Started start_job(const ServerContext& context, std::string body, MemoryBudget::Lease lease,
                  const std::shared_ptr<Wakeup>& wakeup) {
  const CompletionContext completion{&context.model, &context.limits, context.engine};
  auto notify = [weak = std::weak_ptr<Wakeup>(wakeup)] {
    if (const auto target = weak.lock()) target->signal();
  };
  try {
    return CompletionJob::start(completion, std::move(body), std::move(lease), std::move(notify));
  } catch (const std::exception&) {  // memory, as far as this code goes
    return server_error("the request could not be read");
  }
}

class Connection {
 public:
  Connection(ServerContext& context, asio::ip::tcp::socket socket)
      : context_(context),
        limits_(context.limits),
        stream_(std::move(socket)),
        buffer_(limits_.header_bytes + limits_.pipelined_bytes + kReadAheadBytes) {}

  awaitable<void> run() {
    error_code ignored;
    stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    stream_.socket().set_option(asio::socket_base::send_buffer_size(limits_.send_buffer_bytes),
                                ignored);
    while (co_await serve_one()) {
    }
    stream_.close();
  }

 private:
  static constexpr size_t kReadAheadBytes = 4096;
  static constexpr size_t kBodyPieceBytes = 64 * 1024;

  // False: the connection ends.
  awaitable<bool> serve_one() {
    if (buffer_.size() == 0) {
      stream_.expires_after(limits_.idle);
      auto [ec, size] =
          co_await stream_.async_read_some(buffer_.prepare(kReadAheadBytes), kAsTuple);
      if (ec) co_return false;
      buffer_.commit(size);
    }
    Parser parser;
    parser.header_limit(limits_.header_bytes);
    parser.body_limit(limits_.body_bytes);
    stream_.expires_after(limits_.header);
    auto [ec, size] = co_await http::async_read_header(stream_, buffer_, parser, kAsTuple);
    const RequestCount count(&context_.requests);
    RequestHead head;
    if (ec) {
      const std::optional<ApiError> error = error_of_head(ec);
      if (error) co_await refuse(head, *error);
      co_return false;
    }
    read_head(parser, &head);
    if (const std::optional<ApiError> error = check_head(parser, head)) {
      co_await refuse(head, *error);
      co_return false;
    }
    const Route route = route_request(head);
    if (route == Route::kCompletions && !context_.draining) {
      co_return co_await serve_completion(parser, head);
    }
    const HttpReply reply = answer(context_, route, head);
    // A body that nobody asked for is not read: the connection ends instead.
    if (!parser.is_done()) {
      co_await refuse_with(head, reply);
      co_return false;
    }
    co_return co_await write_reply(head, reply) && head.keep_alive;
  }

  void read_head(const Parser& parser, RequestHead* head) const {
    const auto& request = parser.get();
    head->method = std::string(request.method_string());
    head->target = std::string(request.target());
    head->http_minor = request.version() == 10 ? 0 : 1;
    head->keep_alive = request.keep_alive() && !context_.draining;
    head->request_id = std::string(request["x-request-id"]);
    if (!is_usable_request_id(head->request_id, limits_.request_id_bytes)) {
      head->request_id = make_request_id();
    }
  }

  // What the head says that HTTP allows and this server does not.
  std::optional<ApiError> check_head(const Parser& parser, const RequestHead& head) const {
    const auto& request = parser.get();
    if (std::distance(request.begin(), request.end()) > limits_.header_fields) {
      return http_error(431, "too many header fields");
    }
    if (request.version() != 10 && request.version() != 11) {
      return http_error(505, "this server speaks HTTP/1.0 and HTTP/1.1");
    }
    if (head.http_minor == 1 && request.count(http::field::host) != 1) {
      return http_error(400, "an HTTP/1.1 request needs one Host header");
    }
    const auto encoding = request[http::field::content_encoding];
    if (!encoding.empty() && !beast::iequals(encoding, "identity")) {
      return http_error(415, "compressed bodies are not supported");
    }
    const auto expect = request[http::field::expect];
    if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
      return http_error(417, "the only expectation that is supported is 100-continue");
    }
    return std::nullopt;
  }

  // nullopt: the client is gone or too slow, and there is nobody to tell.
  std::optional<ApiError> error_of_head(const error_code& ec) const {
    if (ec == http::error::body_limit) return body_too_large();
    if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
      return http_error(
          431, absl::StrCat("the request's head is larger than ", limits_.header_bytes, " bytes"));
    }
    if (ec == http::error::end_of_stream) return std::nullopt;
    if (ec.category() == http::make_error_code(http::error::bad_method).category()) {
      return http_error(400, "this is not a well-formed HTTP/1.1 request");
    }
    return std::nullopt;
  }

  ApiError body_too_large() const {
    return http_error(413, absl::StrCat("the body is larger than ", limits_.body_bytes, " bytes"));
  }

  awaitable<bool> serve_completion(Parser& parser, const RequestHead& head) {
    if (!parser.get()[http::field::expect].empty() && head.http_minor == 1 && !parser.is_done()) {
      if (!co_await write_all("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
    }
    std::string body;
    MemoryBudget::Lease lease(&context_.budget);
    std::optional<ApiError> error;
    if (!co_await read_body(parser, &body, &lease, &error)) {
      if (error) co_await refuse(head, *error);
      co_return false;
    }
    auto exchange = std::make_shared<Exchange>(stream_.get_executor());
    post_job(exchange, std::move(body), std::move(lease));
    using namespace asio::experimental::awaitable_operators;
    const auto outcome = co_await (run_job(*exchange, head) || watch());
    {
      // Whatever the worker makes from now on, it drops.
      const std::lock_guard lock(exchange->mutex);
      exchange->abandoned = true;
      exchange->started.reset();
    }
    co_return outcome.index() == 0 && std::get<0>(outcome);
  }

  // False with `error` unset: the client is gone or too slow.
  awaitable<bool> read_body(Parser& parser, std::string* body, MemoryBudget::Lease* lease,
                            std::optional<ApiError>* error) {
    const auto start = std::chrono::steady_clock::now();
    const uint64_t announced = parser.content_length().value_or(0);
    std::unique_ptr<char[]> piece(new char[kBodyPieceBytes]);
    while (!parser.is_done()) {
      // What a length promises is counted, so that a body that began to be read can end; memory
      // grows only with what has come.
      const uint64_t needed = std::max<uint64_t>(announced, body->size() + kBodyPieceBytes);
      if (needed > limits_.large_body_bytes && !lease->grow_to(needed)) {
        *error = unavailable_error("the server is reading too many large requests");
        co_return false;
      }
      const std::chrono::seconds earned(body->size() / limits_.body_bytes_per_second);
      stream_.expires_at(start + limits_.body_grace + earned);
      if (body->size() >= kBodyPieceBytes / 4) buffer_.reserve(kBodyPieceBytes);
      parser.get().body().data = piece.get();
      parser.get().body().size = kBodyPieceBytes;
      auto [ec, size] = co_await http::async_read(stream_, buffer_, parser, kAsTuple);
      if (ec == http::error::body_limit) {
        *error = body_too_large();
      } else if (ec && ec != http::error::need_buffer) {
        const bool malformed =
            ec.category() == http::make_error_code(http::error::bad_method).category() &&
            ec != http::error::partial_message && ec != http::error::end_of_stream;
        if (malformed) *error = http_error(400, "the body is not well-formed");
        co_return false;
      }
      if (*error) co_return false;
      body->append(piece.get(), kBodyPieceBytes - parser.get().body().size);
    }
    co_return true;
  }

  void post_job(const std::shared_ptr<Exchange>& exchange, std::string body,
                MemoryBudget::Lease lease) {
    const bool large = body.size() > limits_.large_body_bytes;
    asio::post(large ? context_.large_work : context_.small_work,
               [&context = context_, exchange, body = std::move(body),
                lease = std::move(lease)]() mutable {
                 {
                   const std::lock_guard lock(exchange->mutex);
                   if (exchange->abandoned || context.stopping) return;
                 }
                 Started started =
                     start_job(context, std::move(body), std::move(lease), exchange->wakeup);
                 {
                   const std::lock_guard lock(exchange->mutex);
                   if (exchange->abandoned) return;  // and the job is cancelled
                   exchange->started = std::move(started);
                 }
                 exchange->wakeup->signal();
               });
  }

  // True: replied in full, and the connection goes on. Never throws: the watcher beside it would
  // wait for ever.
  awaitable<bool> run_job(Exchange& exchange, const RequestHead& head) {
    try {
      std::optional<Started> started;
      while (!started.has_value()) {
        co_await exchange.wakeup->wait();
        const std::lock_guard lock(exchange.mutex);
        started.swap(exchange.started);
      }
      if (const ApiError* error = std::get_if<ApiError>(&*started)) {
        const HttpReply reply = error_reply(*error);
        co_return co_await write_reply(head, reply) && head.keep_alive;
      }
      CompletionJob& job = *std::get<0>(*started);
      if (job.streaming()) co_return co_await stream_job(job, *exchange.wakeup, head);
      HttpReply reply;
      CompletionJob::State state = job.poll(&reply.body);
      while (state == CompletionJob::State::kRunning) {
        co_await exchange.wakeup->wait();
        state = job.poll(&reply.body);
      }
      if (state == CompletionJob::State::kFailed) reply = error_reply(job.error());
      co_return co_await write_reply(head, reply) && head.keep_alive;
    } catch (const std::exception&) {  // cancelled, or out of memory
      co_return false;
    }
  }

  awaitable<bool> stream_job(CompletionJob& job, Wakeup& wakeup, const RequestHead& head) {
    const bool chunked = head.http_minor == 1;
    const bool keep = head.keep_alive && chunked;
    std::string out = stream_head(head, keep);
    std::string events;
    for (;;) {
      events.clear();
      const CompletionJob::State state = job.poll(&events);
      if (!events.empty()) chunked ? append_http_chunk(&out, events) : void(out.append(events));
      const bool last = state != CompletionJob::State::kRunning;
      if (last && chunked) out.append(kLastHttpChunk);
      if (!co_await write_all(out)) co_return false;
      if (last) co_return keep&& state == CompletionJob::State::kDone;
      out.clear();
      if (events.empty()) co_await wakeup.wait();
    }
  }

  // Reads while a reply is computed and written, so that a closed connection shows at once.
  // Returns when the client is gone. A pipelined request stays in the buffer.
  awaitable<void> watch() {
    for (;;) {
      if (buffer_.size() >= limits_.pipelined_bytes) {
        co_await stream_.socket().async_wait(asio::ip::tcp::socket::wait_error, kAsTuple);
        co_return;
      }
      auto [ec, size] =
          co_await stream_.socket().async_read_some(buffer_.prepare(kReadAheadBytes), kAsTuple);
      if (ec) {
        // Ends a write that waits for this client, unless it is the write's end that ended us.
        if (ec != asio::error::operation_aborted) stream_.close();
        co_return;
      }
      buffer_.commit(size);
    }
  }

  // Each piece has its own deadline, so that a slow but steady reader gets all of a large reply.
  awaitable<bool> write_all(std::string_view data) {
    while (!data.empty()) {
      const std::string_view piece = data.substr(0, limits_.write_piece_bytes);
      stream_.expires_after(limits_.write_stall);
      auto [ec, size] =
          co_await asio::async_write(stream_, asio::buffer(piece.data(), piece.size()), kAsTuple);
      if (ec) co_return false;
      data.remove_prefix(piece.size());
    }
    co_return true;
  }

  awaitable<bool> write_reply(const RequestHead& head, const HttpReply& reply) {
    std::string text = reply_head(head, reply);
    // One segment for what is small; a large body is not copied.
    const bool small = reply.body.size() <= limits_.write_piece_bytes;
    if (head.method != "HEAD" && small) text.append(reply.body);
    if (!co_await write_all(text)) co_return false;
    if (head.method != "HEAD" && !small) co_return co_await write_all(reply.body);
    co_return true;
  }

  awaitable<void> refuse(const RequestHead& head, const ApiError& error) {
    const HttpReply reply = error_reply(error);
    co_await refuse_with(head, reply);
  }

  // Replies and reads on for a while: closing with unread bytes would reset the connection, and the
  // client might never see the reply.
  awaitable<void> refuse_with(const RequestHead& original, const HttpReply& reply) {
    RequestHead head = original;
    head.keep_alive = false;
    if (head.request_id.empty()) head.request_id = make_request_id();
    if (!co_await write_reply(head, reply)) co_return;
    error_code ignored;
    stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    stream_.expires_after(limits_.linger);
    std::unique_ptr<char[]> sink(new char[kBodyPieceBytes]);
    for (;;) {
      auto [ec, size] =
          co_await stream_.async_read_some(asio::buffer(sink.get(), kBodyPieceBytes), kAsTuple);
      if (ec) co_return;
    }
  }

  ServerContext& context_;
  const ServerLimits& limits_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
};

}  // namespace

asio::awaitable<void> serve_connection(ServerContext& context, asio::ip::tcp::socket socket) {
  Connection connection(context, std::move(socket));
  co_await connection.run();
}

}  // namespace deltaserve
