#include "server/http/reader.h"

#include <boost/beast/http/error.hpp>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::awaitable;
using ErrorCode = ByteStream::ErrorCode;

}  // namespace

HttpReader::HttpReader(ByteStream* stream, const ServerLimits& limits)
    : stream_(stream), limits_(limits), input_(limits) {}

awaitable<bool> HttpReader::wait_for_request() {
  stream_->expires_after(limits_.idle);
  while (!input_.skip_empty_lines()) {
    const auto [ec, size] = co_await stream_->read_some(input_.room(RequestInput::kSmallReadBytes));
    if (ec) co_return false;
    input_.received(size);
  }
  co_return true;
}

// Lets the parser read the buffered bytes, and receives more if there are none or too few.
awaitable<ErrorCode> HttpReader::parse_some(HttpParser* parser, size_t read_bytes) {
  for (;;) {
    const ErrorCode ec = input_.parse(parser);
    if (ec != http::error::need_more) co_return ec;
    const auto [error, size] = co_await stream_->read_some(input_.room(read_bytes));
    input_.received(size);
    if (error == asio::error::eof) co_return RequestInput::end(parser);
    if (error) co_return error;
  }
}

awaitable<bool> HttpReader::read_head(HttpParser* parser, RequestHead* head,
                                      std::optional<HttpReply>* error) {
  input_.begin_head(parser);
  stream_->expires_after(limits_.header);
  while (!parser->is_header_done()) {
    const ErrorCode ec = co_await parse_some(parser, RequestInput::kSmallReadBytes);
    if (!ec) continue;
    *error = input_.error_of_head(ec);
    co_return false;
  }
  stream_->expires_never();
  *error = input_.take_head(*parser, head);
  co_return !error->has_value();
}

HttpReply HttpReader::body_too_slow() const {
  return http_error(
      408, str_cat("the body came too slowly: within ", limits_.body_grace.count(),
                   " s it must end, or bring ", limits_.body_bytes_per_second, " bytes a second"));
}

awaitable<bool> HttpReader::read_body(HttpParser* parser, std::string* body,
                                      MemoryBudget::Lease* lease, std::optional<HttpReply>* error) {
  // The rate holds in every span: bytes that came fast give later ones no more time.
  const uint64_t span_bytes =
      limits_.body_bytes_per_second * static_cast<uint64_t>(limits_.body_grace.count());
  uint64_t next_span = span_bytes;
  BodyInput input(limits_, parser, body, lease);
  stream_->reading_expires_after(limits_.body_grace);
  while (!input.done()) {
    *error = input.begin_piece();
    if (*error) co_return false;
    if (body->size() >= next_span) {
      next_span = body->size() + span_bytes;
      stream_->reading_expires_after(limits_.body_grace);
    }
    const ErrorCode ec = co_await parse_some(parser, input.next_read());
    if (ec == asio::error::timed_out) {
      *error = body_too_slow();
      co_return false;
    }
    if (!input.end_piece(ec, error)) co_return false;
  }
  stream_->expires_never();
  co_return true;
}

awaitable<void> HttpReader::watch() {
  for (;;) {
    if (input_.buffered() >= limits_.pipelined_bytes) {
      co_await stream_->wait_for_reset();
      co_return;
    }
    const auto [ec, size] = co_await stream_->read_some(input_.room(RequestInput::kSmallReadBytes));
    if (ec) {
      // Ends a write that waits for this client, unless it is the write's end that ended us.
      if (ec != asio::error::operation_aborted) stream_->close();
      co_return;
    }
    input_.received(size);
  }
}

}  // namespace deltaserve
