#include "server/http/connection.h"

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <string>
#include <utility>

#include "models/base/text.h"
#include "server/base/sse.h"
#include "server/http/exchange.h"
#include "server/http/reader.h"
#include "server/http/request_target.h"
#include "server/http/routes.h"
#include "server/service/request_id.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::awaitable;
using State = AnswerJob::State;

constexpr int kClientClosed = 499;  // in logs and metrics: there was nobody to send a status to

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

// One request, as its line in the log shows it.
struct RequestRecord {
  RequestHead head;
  SteadyTime arrival = ByteStream::Clock::now();
  PrefixOwner owner{};        // known once the key was checked
  uint64_t bytes_before = 0;  // written on the connection
  int status = 0;             // 0: none was sent
  bool client_closed = false;
  bool of_flood = false;           // of wrong keys: it costs as little as possible, and no line
  std::string_view error_members;  // that the route's errors have
  std::string problem;             // what a reply that failed said
  std::string param;               // likewise
  LogFields job;                   // of a completion
  RequestSpan span;                // likewise
  bool generates = false;
};

class Connection {
 public:
  Connection(ServerContext& context, asio::ip::tcp::socket socket, std::string address)
      : context_(context),
        address_(std::move(address)),
        services_(context.services),
        limits_(context.services.limits),
        stream_(std::move(socket), context.tls != nullptr ? context.tls->get() : nullptr),
        reader_(&stream_, limits_) {}

  awaitable<void> run() {
    stream_.set_send_buffer(limits_.send_buffer_bytes);
    stream_.expires_after(limits_.header);
    // Not `if (!co_await ...)`: GCC 12 lays out the frame of a coroutine wrongly that awaits in a
    // condition and has no local variable; it crashes at once.
    const bool open = co_await stream_.handshake();
    if (!open) co_return;
    bool goes_on = true;
    while (goes_on) {
      goes_on = co_await wait_for_request();
      if (goes_on) goes_on = co_await serve_one();
    }
    if (context_.tls != nullptr) {
      stream_.expires_after(limits_.linger);
      co_await stream_.shut_down_send();
    }
    stream_.close();
  }

 private:
  awaitable<bool> wait_for_request() {
    const auto waits = std::make_shared<bool>(true);
    const IdleConnections::Entry entry(&context_.idle_connections, stream_.closer(waits));
    const bool begins = co_await reader_.wait_for_request();
    *waits = false;
    co_return begins;
  }

  // Serves one request. Returns false if the connection must end.
  awaitable<bool> serve_one() {
    HttpParser parser;
    RequestRecord record;
    record.bytes_before = stream_.bytes_written();
    std::optional<HttpReply> error;
    const bool understood = co_await reader_.read_head(&parser, &record.head, &error);
    const RequestCount count(&context_.requests);
    if (!understood && !error) co_return false;
    if (record.head.request_id.empty()) record.head.request_id = make_request_id();
    record.head.cors_headers = context_.cors.reply_headers(parser.get()[http::field::origin]);
    if (understood) error = foreign(parser, record.head);
    if (services_.draining()) record.head.keep_alive = false;
    bool goes_on = false;
    if (error) {
      co_await refuse(record, *error);
    } else {
      goes_on = co_await serve(parser, record);
    }
    finish(record);
    co_return goes_on;
  }

  // Returns the reply to a request under a name that is not this server's, or from a page that may
  // not call it. Clients that are no browsers send no origin.
  std::optional<HttpReply> foreign(const HttpParser& parser, const RequestHead& head) const {
    const auto& request = parser.get();
    const std::string_view authority = authority_of_target(head.target);
    const std::string_view header = request[http::field::host];
    const std::string_view host = authority.empty() ? header : authority;
    const bool is_named = !authority.empty() || request.count(http::field::host) > 0;
    if (is_named && !context_.hosts.allows(host)) {
      return http_error(403, str_cat("the host ", quoted(host),
                                     " is not one of this server's names: see --allowed-host"));
    }
    const auto [begin, end] = request.equal_range(http::field::origin);
    for (auto field = begin; field != end; ++field) {
      const std::string_view origin = field->value();
      if (context_.cors.allows(origin) || is_own_origin(origin, host)) continue;
      return http_error(403, str_cat("pages of the origin ", quoted(origin),
                                     " may not call this server: see --cors-origin"));
    }
    return std::nullopt;
  }

  awaitable<bool> serve(HttpParser& parser, RequestRecord& record) {
    const Route route = route_request(record.head);
    if (route.is_post()) record.error_members = route.endpoint->error_members;
    record.generates = route.generates();
    const std::optional<HttpReply> reply = reply_at_once(parser, &record, route);
    if (record.of_flood) co_await hold_back();
    if (!reply) co_return co_await serve_post(parser, record, route);
    if (parser.is_done()) co_return co_await write_reply(record, *reply) && record.head.keep_alive;
    if (has_small_body(parser)) co_return co_await read_and_reply(parser, record, *reply);
    co_await refuse(record, *reply);
    co_return false;
  }

  // Returns the reply that the head alone decides, and notes the owner of its key. Returns nullopt
  // if the body is needed.
  std::optional<HttpReply> reply_at_once(const HttpParser& parser, RequestRecord* record,
                                         Route route) const {
    if (!route.is_public()) {
      const auto owner = services_.owner_of(authorization_of(parser), address_);
      if (const ApiError* error = std::get_if<ApiError>(&owner)) {
        record->of_flood = error->kind == ErrorKind::kTooManyWrongKeys;
        if (record->of_flood) record->head.keep_alive = false;
        return error_reply(*error);
      }
      record->owner = std::get<PrefixOwner>(owner);
    }
    if (!route.is_post()) return answer(context_, route, record->head);
    const std::optional<ApiError> error = services_.admit(route.generates());
    return error ? std::optional(error_reply(*error)) : std::nullopt;
  }

  // Waits before a reply to somebody who guesses keys, unless the client goes away.
  awaitable<void> hold_back() {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer timer(stream_.executor(), limits_.refusal_delay);
    co_await (timer.async_wait(asio::use_awaitable) || reader_.watch());
  }

  // Anthropic's clients have a header of their own for the key.
  static std::string authorization_of(const HttpParser& parser) {
    const std::string_view authorization = parser.get()[http::field::authorization];
    const std::string_view key = parser.get()["x-api-key"];
    return authorization.empty() && !key.empty() ? str_cat("Bearer ", key)
                                                 : std::string(authorization);
  }

  // A small body may be read and dropped to keep the connection, which ends otherwise.
  bool has_small_body(const HttpParser& parser) const {
    const uint64_t bytes = parser.content_length().value_or(limits_.body_bytes);
    return bytes <= limits_.large_body_bytes && parser.get()[http::field::expect].empty();
  }

  awaitable<bool> read_and_reply(HttpParser& parser, RequestRecord& record,
                                 const HttpReply& reply) {
    std::string body;
    MemoryBudget::Lease lease;
    std::optional<HttpReply> error;
    if (!co_await reader_.read_body(&parser, &body, &lease, &error)) {
      record.client_closed = !error;
      if (!error) co_return false;
      co_await refuse(record, *error);
      co_return false;
    }
    co_return co_await write_reply(record, reply) && record.head.keep_alive;
  }

  awaitable<bool> serve_post(HttpParser& parser, RequestRecord& record, Route route) {
    const bool expects = !parser.get()[http::field::expect].empty();
    if (expects && record.head.http_minor == 1 && !parser.is_done()) {
      if (!co_await write_all("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
    }
    PostRequest request{*route.endpoint, record.head.request_id};
    Arrival& arrival = request.arrival;
    arrival.owner = record.owner;
    arrival.time = record.arrival;
    const bool any_size = services_.overload.takes_large_bodies(Overload::kHttpConnections);
    arrival.lease = MemoryBudget::Lease(&services_.budget, record.owner,
                                        any_size ? UINT64_MAX : limits_.huge_body_bytes);
    const std::chrono::milliseconds timeout(record.head.timeout_ms);
    if (timeout.count() > 0) arrival.deadline = record.arrival + timeout;
    std::optional<HttpReply> error;
    if (!co_await reader_.read_body(&parser, &request.body, &arrival.lease, &error)) {
      record.client_closed = !error;
      if (!error) co_return false;
      co_await refuse(record, *error);
      co_return false;
    }
    auto exchange = std::make_shared<Exchange>(stream_.executor());
    exchange->set_deadline(arrival.deadline);
    post_to_worker(context_, exchange, std::move(request));
    using namespace asio::experimental::awaitable_operators;
    const auto outcome = co_await (reply_from(*exchange, record) || reader_.watch());
    exchange->abandon();
    record.client_closed = outcome.index() != 0;
    co_return outcome.index() == 0 && std::get<0>(outcome);
  }

  // Sends the reply. Returns true if all of it was sent and the connection goes on. Never throws,
  // because the watcher beside it would then wait for ever.
  awaitable<bool> reply_from(Exchange& exchange, RequestRecord& record) {
    try {
      std::optional<Started> started = exchange.take();
      while (!started.has_value()) {
        const SteadyTime deadline = exchange.deadline();
        const bool woken = co_await exchange.wakeup->wait(deadline);
        started = exchange.take();
        if (!woken && !started.has_value() && ByteStream::Clock::now() >= deadline) {
          co_return co_await write_reply(record, error_reply(deadline_error())) &&
              record.head.keep_alive;
        }
      }
      if (const HttpReply* reply = std::get_if<HttpReply>(&*started)) {
        if (reply->held_back) {
          asio::steady_timer timer(stream_.executor(), limits_.refusal_delay);
          co_await timer.async_wait(asio::use_awaitable);
        }
        co_return co_await write_reply(record, *reply) && record.head.keep_alive;
      }
      AnswerJob& job = *std::get<0>(*started);
      const JobDescription description(job, &record);
      if (job.streaming()) co_return co_await stream_job(job, *exchange.wakeup, record);
      co_return co_await reply_whole(job, *exchange.wakeup, record);
    } catch (const std::exception&) {  // cancelled, or out of memory
      co_return false;
    }
  }

  // Notes what became of a job, even when its coroutine is cancelled.
  class JobDescription {
   public:
    JobDescription(const AnswerJob& job, RequestRecord* record) : job_(job), record_(record) {}
    ~JobDescription() {
      job_.describe(&record_->job);
      job_.describe(&record_->span);
    }
    JobDescription(const JobDescription&) = delete;
    JobDescription& operator=(const JobDescription&) = delete;

   private:
    const AnswerJob& job_;
    RequestRecord* const record_;
  };

  awaitable<bool> reply_whole(AnswerJob& job, Wakeup& wakeup, RequestRecord& record) {
    HttpReply reply;
    State state = job.poll(&reply.body);
    while (state == State::kRunning) {
      co_await wakeup.wait();
      state = job.poll(&reply.body);
    }
    if (state == State::kFailed) reply = error_reply(job.error());
    co_return co_await write_reply(record, reply) && record.head.keep_alive;
  }

  // The status is sent with the first event, so that earlier failures get a status of their own.
  awaitable<bool> stream_job(AnswerJob& job, Wakeup& wakeup, RequestRecord& record) {
    const bool chunked = record.head.http_minor == 1;
    const bool keep = record.head.keep_alive && chunked;
    std::string events, out;
    auto silent_since = ByteStream::Clock::now();  // for the client: progress is not told to it
    for (;;) {
      events.clear();
      const State state = job.poll(&events);
      if (state == State::kFailed && record.status == 0) {
        const HttpReply reply = error_reply(job.error());
        co_return co_await write_reply(record, reply) && record.head.keep_alive;
      }
      if (events.empty()) {
        if (co_await wakeup.wait(silent_since + limits_.keep_alive)) continue;
        events = kSseKeepAlive;
      }
      out.clear();
      if (record.status == 0) out = stream_head(record.head, keep);
      record.status = 200;
      chunked ? append_http_chunk(&out, events) : void(out.append(events));
      if (state == State::kFailed) record.problem = job.error().message;
      const bool last = state != State::kRunning;
      if (last && chunked) out.append(kLastHttpChunk);
      if (!co_await write_all(out)) co_return false;
      silent_since = ByteStream::Clock::now();
      if (last) co_return keep&& state == State::kDone;
    }
  }

  // Each piece has its own deadline, so that a slow but steady reader gets all of a large reply.
  awaitable<bool> write_all(std::string_view data) {
    while (!data.empty()) {
      const std::string_view piece = data.substr(0, limits_.write_piece_bytes);
      stream_.expires_after(limits_.write_stall);
      if (co_await stream_.write(asio::buffer(piece.data(), piece.size()))) co_return false;
      data.remove_prefix(piece.size());
    }
    stream_.expires_never();
    co_return true;
  }

  awaitable<bool> write_reply(RequestRecord& record, const HttpReply& reply) {
    HttpReply error;
    const bool changed = !reply.problem.empty() && !record.error_members.empty();
    if (changed) error = reply;
    if (changed) error.body.insert(1, record.error_members);
    co_return co_await write_bytes(record, changed ? error : reply);
  }

  awaitable<bool> write_bytes(RequestRecord& record, const HttpReply& reply) {
    const RequestHead& head = record.head;
    record.status = reply.status;
    record.problem = reply.problem;
    record.param = reply.param;
    std::string text = reply_head(head, reply);
    // A small body goes out in one segment with the head; a large one is not copied.
    const bool small = reply.body.size() <= limits_.write_piece_bytes;
    if (head.method != "HEAD" && small) text.append(reply.body);
    if (!co_await write_all(text)) co_return false;
    if (head.method != "HEAD" && !small) co_return co_await write_all(reply.body);
    co_return true;
  }

  // Replies and reads on for a while: closing with unread bytes would reset the connection, and the
  // client might never see the reply.
  awaitable<void> refuse(RequestRecord& record, const HttpReply& reply) {
    record.head.keep_alive = false;
    const bool written = co_await write_reply(record, reply);
    if (written && !record.of_flood) co_await linger();
  }

  awaitable<void> linger() {
    stream_.expires_after(limits_.linger);
    co_await stream_.shut_down_send();
    co_await stream_.drain();
  }

  void finish(RequestRecord& record) {
    const RequestHead& head = record.head;
    const bool closed = record.client_closed || record.status == 0;
    const int status = closed && record.status == 0 ? kClientClosed : record.status;
    const std::string_view route = route_name(head);
    services_.metrics.http_responses.add({route, std::to_string(status)});
    if (services_.spans != nullptr && record.generates) offer_span(record, route, status);
    // Probes and scrapes repeat for ever and would fill the log.
    const bool routine = route == "/health" || route == "/ready" || route == "/metrics";
    const LogLevel level = routine && status < 400 ? LogLevel::kDebug : LogLevel::kInfo;
    if (!services_.log.enabled(level) || record.of_flood) return;
    LogFields fields;
    fields.text("request_id", head.request_id)
        .text("method", head.method)
        .text("route", route)
        .integer("status", status)
        .integer("bytes", static_cast<int64_t>(stream_.bytes_written() - record.bytes_before));
    if (route == "other") fields.text("path", head.path);
    if (!head.traceparent.empty()) fields.text("traceparent", head.traceparent);
    if (!record.problem.empty()) fields.text("error", record.problem);
    if (!record.param.empty()) fields.text("param", record.param);
    fields.append(record.job);
    const std::chrono::duration<double> total = ByteStream::Clock::now() - record.arrival;
    fields.seconds_as_ms("total_ms", total.count());
    if (closed) fields.boolean("client_closed", true);
    services_.log.write(level, "request", fields);
  }

  // A request that is not served by the client's own fault is no error of the server's.
  void offer_span(RequestRecord& record, std::string_view route, int status) {
    RequestSpan& span = record.span;
    if (span.name.empty()) span.name = str_cat(record.head.method, " ", route);
    span.traceparent = record.head.traceparent;
    span.start = record.arrival;
    span.end = ByteStream::Clock::now();
    span.add("http.request.method", record.head.method);
    span.add("http.route", std::string(route));
    span.add("http.response.status_code", int64_t{status});
    if (status >= 400) span.add("error.type", std::to_string(status));
    if (status >= 500) span.error = record.problem;
    services_.spans->offer(std::move(span));
  }

  ServerContext& context_;
  const std::string address_;  // of the client, as far as limits go by addresses
  Services& services_;
  const ServerLimits& limits_;
  ByteStream stream_;
  HttpReader reader_;
};

}  // namespace

asio::awaitable<void> serve_connection(ServerContext& context, asio::ip::tcp::socket socket,
                                       std::string address) {
  Connection connection(context, std::move(socket), std::move(address));
  co_await connection.run();
}

}  // namespace deltaserve
