#include "server/http/reader.h"

#include <algorithm>
#include <charconv>
#include <memory>

#include "absl/strings/ascii.h"
#include "models/base/text.h"
#include "server/http/request_target.h"
#include "server/service/request_id.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using ErrorCode = ByteStream::ErrorCode;

constexpr size_t kBodyPieceBytes = 64 * 1024;

// The characters of uri-host and port in RFC 3986; a host may be empty.
bool is_host(std::string_view text) {
  constexpr std::string_view kOthers = "-._~!$&'()*+,;=:[]%";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool is_http_error(const ErrorCode& ec) {
  return ec.category() == http::make_error_code(http::error::bad_method).category();
}

}  // namespace

HttpReader::HttpReader(ByteStream* stream, const ServerLimits& limits)
    : stream_(stream),
      limits_(limits),
      buffer_(limits.header_bytes + limits.pipelined_bytes + kReadAheadBytes) {}

awaitable<bool> HttpReader::wait_for_request() {
  stream_->expires_after(limits_.idle);
  while (!skip_empty_lines()) {
    const auto [ec, size] = co_await stream_->read_some(buffer_.prepare(kReadAheadBytes));
    if (ec) co_return false;
    buffer_.commit(size);
  }
  co_return true;
}

// Drops line breaks before a request, which RFC 9112 (2.2) wants ignored. Returns whether the first
// byte of a request is there.
bool HttpReader::skip_empty_lines() {
  const auto* const bytes = static_cast<const char*>(buffer_.data().data());
  const std::string_view text(bytes, buffer_.size());
  size_t empty = 0;
  while (text.substr(empty).starts_with("\r\n")) empty += 2;
  const bool begins = empty < text.size() && text.substr(empty) != "\r";
  buffer_.consume(empty);
  return begins;
}

// Lets the parser read the buffered bytes, and receives more if there are none or too few.
awaitable<ErrorCode> HttpReader::parse_some(HttpParser* parser) {
  for (;;) {
    ErrorCode ec = http::error::need_more;
    if (buffer_.size() > 0) {
      ec.clear();
      buffer_.consume(parser->put(buffer_.data(), ec));
    }
    if (ec != http::error::need_more) co_return ec;
    const size_t room = std::min(buffer_.max_size() - buffer_.size(), kBodyPieceBytes);
    if (room == 0) co_return http::error::buffer_overflow;
    const auto [error, size] =
        co_await stream_->read_some(buffer_.prepare(std::min(room, piece_bytes_)));
    buffer_.commit(size);
    if (error == asio::error::eof) {
      if (!parser->got_some()) co_return http::error::end_of_stream;
      ErrorCode incomplete;
      parser->put_eof(incomplete);
      co_return incomplete;
    }
    if (error) co_return error;
  }
}

awaitable<bool> HttpReader::read_head(HttpParser* parser, RequestHead* head,
                                      std::optional<HttpReply>* error) {
  parser->header_limit(limits_.header_bytes);
  parser->body_limit(limits_.body_bytes);
  parser->eager(false);
  piece_bytes_ = kReadAheadBytes;
  stream_->expires_after(limits_.header);
  while (!parser->is_header_done()) {
    const ErrorCode ec = co_await parse_some(parser);
    if (!ec) continue;
    *error = error_of_head(ec);
    co_return false;
  }
  stream_->expires_never();
  take_head(*parser, head);
  *error = check_head(*parser, head);
  co_return !error->has_value();
}

void HttpReader::take_head(const HttpParser& parser, RequestHead* head) const {
  const auto& request = parser.get();
  head->method = std::string(request.method_string());
  head->target = std::string(request.target());
  head->path = path_of_target(head->target);
  head->http_minor = request.version() == 10 ? 0 : 1;
  head->keep_alive = request.keep_alive();
  head->request_id = std::string(request["x-request-id"]);
  if (!is_usable_request_id(head->request_id, limits_.request_id_bytes)) {
    head->request_id = make_request_id();
  }
  const std::string_view trace = request["traceparent"];
  if (is_traceparent(trace)) head->traceparent = std::string(trace);
}

// Refuses what RFC 9112 (3.2, 6.1) wants refused of the host and of transfer codings.
std::optional<HttpReply> HttpReader::check_framing(const HttpParser& parser, int http_minor) const {
  const auto& request = parser.get();
  if (http_minor == 1 && request.count(http::field::host) != 1) {
    return http_error(400, "an HTTP/1.1 request needs one Host header");
  }
  if (!is_host(request[http::field::host])) return http_error(400, "the Host header is no host");
  const auto coding = request[http::field::transfer_encoding];
  if (coding.empty()) return std::nullopt;
  if (http_minor == 0) return http_error(400, "HTTP/1.0 has no transfer codings");
  if (beast::iequals(coding, "chunked")) return std::nullopt;
  if (!parser.chunked()) return http_error(400, "the last transfer coding must be chunked");
  return http_error(501, "the only transfer coding that is supported is chunked");
}

// Refuses heads that HTTP allows and this server does not serve.
std::optional<HttpReply> HttpReader::check_head(const HttpParser& parser, RequestHead* head) const {
  const auto& request = parser.get();
  if (std::distance(request.begin(), request.end()) > limits_.header_fields) {
    return http_error(431, "too many header fields");
  }
  if (request.version() != 10 && request.version() != 11) {
    return http_error(505, "this server speaks HTTP/1.0 and HTTP/1.1");
  }
  if (auto error = check_framing(parser, head->http_minor)) return error;
  const auto encoding = request[http::field::content_encoding];
  if (!encoding.empty() && !beast::iequals(encoding, "identity")) {
    HttpReply reply = http_error(415, "compressed bodies are not supported");
    reply.headers = "Accept-Encoding: identity\r\n";
    return reply;
  }
  const auto expect = request[http::field::expect];
  if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
    return http_error(417, "the only expectation that is supported is 100-continue");
  }
  const auto timeout = request["x-request-timeout-ms"];
  if (timeout.empty()) return std::nullopt;
  const char* const end = timeout.data() + timeout.size();
  const auto [last, ec] = std::from_chars(timeout.data(), end, head->timeout_ms);
  if (ec == std::errc() && last == end && head->timeout_ms >= 1 &&
      head->timeout_ms <= limits_.request_timeout_ms) {
    return std::nullopt;
  }
  return error_reply(
      invalid_parameter("x-request-timeout-ms",
                        str_cat("the header x-request-timeout-ms must be an integer from 1 to ",
                                limits_.request_timeout_ms, ", not ", quoted(timeout))));
}

// Returns nullopt if the client is gone or too slow, so that there is nobody to tell.
std::optional<HttpReply> HttpReader::error_of_head(const ErrorCode& ec) const {
  if (ec == http::error::body_limit) return body_too_large();
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    return http_error(
        431, str_cat("the request's head is larger than ", limits_.header_bytes, " bytes"));
  }
  if (ec == http::error::end_of_stream) return std::nullopt;
  if (ec == http::error::bad_version) {
    return http_error(505, "this server speaks HTTP/1.0 and HTTP/1.1");
  }
  if (is_http_error(ec)) return http_error(400, "this is not a well-formed HTTP/1.1 request");
  return std::nullopt;
}

HttpReply HttpReader::body_too_large() const {
  return http_error(413, str_cat("the body is larger than ", limits_.body_bytes, " bytes"));
}

HttpReply HttpReader::body_too_slow() const {
  return http_error(
      408, str_cat("the body came too slowly: within ", limits_.body_grace.count(),
                   " s it must end, or bring ", limits_.body_bytes_per_second, " bytes a second"));
}

// Returns the capacity of a body that another piece is read for: twice as much each time, but not
// beyond what may come.
uint64_t HttpReader::room_for_piece(const std::string& body, uint64_t announced) const {
  if (body.size() + kBodyPieceBytes <= body.capacity()) return body.capacity();
  const uint64_t most = announced > 0 ? announced : limits_.body_bytes;
  const uint64_t doubled = std::max<uint64_t>(2 * body.size(), body.size() + kBodyPieceBytes);
  return std::max<uint64_t>(std::min(doubled, most), body.capacity());
}

awaitable<bool> HttpReader::read_body(HttpParser* parser, std::string* body,
                                      MemoryBudget::Lease* lease, std::optional<HttpReply>* error) {
  // The rate holds in every span: bytes that came fast give later ones no more time.
  const uint64_t span_bytes =
      limits_.body_bytes_per_second * static_cast<uint64_t>(limits_.body_grace.count());
  uint64_t next_span = span_bytes;
  std::unique_ptr<char[]> piece(new char[kBodyPieceBytes]);
  parser->eager(true);
  stream_->reading_expires_after(limits_.body_grace);
  while (!parser->is_done()) {
    // Memory grows only with what has come, and so does what is counted: a length that is merely
    // announced must not keep others out.
    const uint64_t room = room_for_piece(*body, parser->content_length().value_or(0));
    if (room > limits_.large_body_bytes && !lease->grow_to(room)) {
      *error = error_reply(overloaded_error());
      co_return false;
    }
    body->reserve(room);
    if (body->size() >= next_span) {
      next_span = body->size() + span_bytes;
      stream_->reading_expires_after(limits_.body_grace);
    }
    // Small bodies need no large buffer, and there may be many connections.
    piece_bytes_ = body->size() >= kBodyPieceBytes / 4 ? kBodyPieceBytes : kReadAheadBytes;
    parser->get().body().data = piece.get();
    parser->get().body().size = kBodyPieceBytes;
    const ErrorCode ec = co_await parse_some(parser);
    if (ec == http::error::body_limit) {
      *error = body_too_large();
    } else if (ec == asio::error::timed_out) {
      *error = body_too_slow();
    } else if (ec && ec != http::error::need_buffer) {
      const bool malformed = is_http_error(ec) && ec != http::error::partial_message &&
                             ec != http::error::end_of_stream;
      if (malformed) *error = http_error(400, "the body is not well-formed");
      co_return false;
    }
    if (*error) co_return false;
    body->append(piece.get(), kBodyPieceBytes - parser->get().body().size);
  }
  stream_->expires_never();
  co_return true;
}

awaitable<void> HttpReader::watch() {
  for (;;) {
    if (buffer_.size() >= limits_.pipelined_bytes) {
      co_await stream_->wait_for_reset();
      co_return;
    }
    const auto [ec, size] = co_await stream_->read_some(buffer_.prepare(kReadAheadBytes));
    if (ec) {
      // Ends a write that waits for this client, unless it is the write's end that ended us.
      if (ec != asio::error::operation_aborted) stream_->close();
      co_return;
    }
    buffer_.commit(size);
  }
}

}  // namespace deltaserve
