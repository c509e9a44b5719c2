#include "server/loadgen/client.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/write.hpp>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using ErrorCode = boost::system::error_code;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kPieceBytes = 64 * 1024;
constexpr std::string_view kEventStream = "text/event-stream";

Failure failure_of(const ErrorCode& ec) {
  if (ec == beast::error::timeout) return {FailureKind::kTimeout, 0, "no end of the reply in time"};
  const bool ended = ec == http::error::end_of_stream || ec == http::error::partial_message;
  if (ec.category() == make_error_code(http::error::end_of_stream).category() && !ended) {
    return {FailureKind::kMalformed, 0, str_cat("not HTTP: ", ec.message())};
  }
  return {FailureKind::kCutOff, 0,
          ended ? "the connection ended before the reply did" : ec.message()};
}

bool is_event_stream(std::string_view content_type) {
  return content_type.size() >= kEventStream.size() &&
         beast::iequals(content_type.substr(0, kEventStream.size()), kEventStream);
}

}  // namespace

struct HttpClient::Reading {
  explicit Reading(const BenchServeLimits& limits) {
    parser.header_limit(limits.header_bytes);
    parser.body_limit(boost::none);  // streams have none, the rest is cut below
  }

  http::response_parser<http::buffer_body> parser;
  Failure failure;
  std::string text;
  bool answered = false;  // the head of a reply is there
  bool streaming = false;
  bool complete = false;  // nothing of the reply is left in the connection
};

HttpClient::HttpClient(asio::io_context* io, const HttpTarget* target,
                       const BenchServeLimits* limits)
    : io_(*io),
      target_(*target),
      limits_(*limits),
      buffer_(limits->header_bytes + kPieceBytes),
      piece_(kPieceBytes) {}

void HttpClient::close() {
  if (stream_.has_value()) stream_->close();
  buffer_.clear();
  open_ = false;
}

void HttpClient::abort() {
  aborted_ = true;
  close();
}

awaitable<Failure> HttpClient::connect(Clock::time_point deadline) {
  stream_.emplace(io_);
  stream_->expires_at(std::min(deadline, Clock::now() + limits_.connect));
  const auto [ec, endpoint] = co_await stream_->async_connect(target_.endpoints, kAsTuple);
  Failure failure;
  if (ec) {
    failure = {FailureKind::kConnect, 0, ec.message()};
    close();
  } else {
    ErrorCode ignored;
    stream_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    open_ = true;
  }
  co_return failure;
}

awaitable<HttpResult> HttpClient::exchange(const HttpCall& call) {
  for (bool again = false;; again = true) {
    HttpResult result;
    const bool reused = open_;
    if (!open_) result.failure = co_await connect(call.deadline);
    if (result.failure) co_return result;
    stream_->expires_at(call.deadline);
    const bool sent = co_await send(call);
    // A server may refuse a request before it has read all of it.
    Reading reading(limits_);
    co_await read_reply(call, &reading);
    if (!reading.complete || !sent) close();
    if (reading.failure.kind == FailureKind::kCutOff && !reading.answered && reused && !again &&
        !aborted_) {
      ++resent_;
      continue;
    }
    result.failure = std::move(reading.failure);
    result.text = std::move(reading.text);
    co_return result;
  }
}

awaitable<bool> HttpClient::send(const HttpCall& call) {
  http::request<http::span_body<const char>> request(call.post ? http::verb::post : http::verb::get,
                                                     call.path, 11);
  request.set(http::field::host, target_.authority);
  request.set(http::field::user_agent, "deltaserve-bench-serve");
  if (!target_.authorization.empty()) {
    request.set(http::field::authorization, target_.authorization);
  }
  if (call.post) {
    request.set(http::field::content_type, "application/json");
    request.set(http::field::accept, kEventStream);
    request.body() = beast::span<const char>(call.body.data(), call.body.size());
    request.content_length(call.body.size());
  }
  const auto [ec, size] = co_await http::async_write(*stream_, request, kAsTuple);
  co_return !ec;
}

awaitable<void> HttpClient::read_reply(const HttpCall& call, Reading* reading) {
  const auto [ec, size] =
      co_await http::async_read_header(*stream_, buffer_, reading->parser, kAsTuple);
  if (ec) {
    reading->failure = failure_of(ec);
    co_return;
  }
  reading->answered = true;
  const auto& head = reading->parser.get();
  const bool success = head.result_int() == 200;
  if (success && call.on_piece) {
    reading->streaming = is_event_stream(head[http::field::content_type]);
    if (!reading->streaming) {
      reading->failure = {FailureKind::kMalformed, 0, "the reply is not an event stream"};
      co_return;
    }
  }
  co_await read_body(call, reading);
  if (!success) {
    // An error message counts even if the reply was cut off.
    const int status = static_cast<int>(head.result_int());
    reading->failure = {FailureKind::kHttpStatus, status, error_message_of(reading->text, limits_)};
  }
  reading->complete = reading->complete && head.keep_alive() && buffer_.size() == 0;
}

awaitable<void> HttpClient::read_body(const HttpCall& call, Reading* reading) {
  auto& parser = reading->parser;
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = piece_.data();
    body.size = piece_.size();
    const auto [ec, size] = co_await http::async_read_some(*stream_, buffer_, parser, kAsTuple);
    const std::string_view piece(piece_.data(), piece_.size() - body.size);
    if (reading->streaming) {
      if (!piece.empty() && !call.on_piece(piece)) co_return;
    } else {
      if (reading->text.size() + piece.size() > limits_.reply_bytes) {
        reading->failure = {FailureKind::kMalformed, 0,
                            str_cat("a reply of more than ", limits_.reply_bytes, " bytes")};
        co_return;
      }
      reading->text.append(piece);
    }
    if (ec && ec != http::error::need_buffer) {
      reading->failure = failure_of(ec);
      co_return;
    }
  }
  reading->complete = true;
}

}  // namespace deltaserve
