#include "server/http/request_input.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "absl/strings/ascii.h"
#include "models/base/text.h"
#include "server/http/request_target.h"
#include "server/service/request_id.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr size_t kPieceBytes = 64 * 1024;

// The characters of uri-host and port in RFC 3986; a host may be empty.
bool is_host(std::string_view text) {
  constexpr std::string_view kOthers = "-._~!$&'()*+,;=:[]%";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool is_http_error(const RequestInput::ErrorCode& ec) {
  return ec.category() == http::make_error_code(http::error::bad_method).category();
}

HttpReply body_too_large(const ServerLimits& limits) {
  return http_error(413, str_cat("the body is larger than ", limits.body_bytes, " bytes"));
}

// Refuses what RFC 9112 (3.2, 6.1) wants refused of the host and of transfer codings.
std::optional<HttpReply> check_framing(const HttpParser& parser, int http_minor) {
  const auto& request = parser.get();
  if (http_minor == 1 && request.count(http::field::host) != 1) {
    return http_error(400, "an HTTP/1.1 request needs one Host header");
  }
  if (!is_host(request[http::field::host])) return http_error(400, "the Host header is no host");
  if (request.count(http::field::content_length) > 1 ||
      request.count(http::field::transfer_encoding) > 1) {
    return http_error(400, "the headers say twice where the body ends");
  }
  const auto coding = request[http::field::transfer_encoding];
  if (coding.empty()) return std::nullopt;
  if (http_minor == 0) return http_error(400, "HTTP/1.0 has no transfer codings");
  if (beast::iequals(coding, "chunked")) return std::nullopt;
  if (!parser.chunked()) return http_error(400, "the last transfer coding must be chunked");
  return http_error(501, "the only transfer coding that is supported is chunked");
}

}  // namespace

// ---- RequestInput

RequestInput::RequestInput(const ServerLimits& limits)
    : limits_(limits), buffer_(limits.header_bytes + limits.pipelined_bytes + kSmallReadBytes) {}

asio::mutable_buffer RequestInput::room(size_t most) {
  return buffer_.prepare(std::min(most, buffer_.max_size() - buffer_.size()));
}

bool RequestInput::skip_empty_lines() {
  const auto* const bytes = static_cast<const char*>(buffer_.data().data());
  const std::string_view text(bytes, buffer_.size());
  size_t empty = 0;
  while (text.substr(empty).starts_with("\r\n")) empty += 2;
  const bool begins = empty < text.size() && text.substr(empty) != "\r";
  buffer_.consume(empty);
  return begins;
}

void RequestInput::begin_head(HttpParser* parser) {
  head_bytes_ = 0;
  parser->header_limit(limits_.header_bytes);
  parser->body_limit(limits_.body_bytes);
  parser->eager(false);
}

RequestInput::ErrorCode RequestInput::parse(HttpParser* parser) {
  if (buffer_.size() == 0) return http::error::need_more;
  ErrorCode ec;
  const bool is_head = !parser->is_header_done();
  const size_t bytes = parser->put(buffer_.data(), ec);
  buffer_.consume(bytes);
  // The parser itself takes somewhat more than its limit if it comes in one packet.
  if (is_head) head_bytes_ += bytes;
  if (is_head && head_bytes_ > limits_.header_bytes) return http::error::header_limit;
  const bool is_full = buffer_.size() == buffer_.max_size();
  return ec == http::error::need_more && is_full ? http::error::buffer_overflow : ec;
}

RequestInput::ErrorCode RequestInput::end(HttpParser* parser) {
  if (!parser->got_some()) return http::error::end_of_stream;
  ErrorCode incomplete;
  parser->put_eof(incomplete);
  return incomplete;
}

std::optional<HttpReply> RequestInput::take_head(const HttpParser& parser,
                                                 RequestHead* head) const {
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
  return check_head(parser, head);
}

// Refuses heads that HTTP allows and this server does not serve.
std::optional<HttpReply> RequestInput::check_head(const HttpParser& parser,
                                                  RequestHead* head) const {
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

std::optional<HttpReply> RequestInput::error_of_head(const ErrorCode& ec) const {
  if (ec == http::error::body_limit) return body_too_large(limits_);
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

// ---- BodyInput

BodyInput::BodyInput(const ServerLimits& limits, HttpParser* parser, std::string* body,
                     MemoryBudget::Lease* lease)
    : limits_(limits),
      parser_(*parser),
      body_(*body),
      lease_(*lease),
      piece_(new char[kPieceBytes]) {
  parser->eager(true);
}

// Returns the capacity of a body that another piece is read for: twice as much each time, but not
// beyond what may come.
uint64_t BodyInput::room_for_piece(uint64_t announced) const {
  if (body_.size() + kPieceBytes <= body_.capacity()) return body_.capacity();
  const uint64_t most = announced > 0 ? announced : limits_.body_bytes;
  const uint64_t doubled = std::max<uint64_t>(2 * body_.size(), body_.size() + kPieceBytes);
  return std::max<uint64_t>(std::min(doubled, most), body_.capacity());
}

// Memory grows only with what has come, and so does what is counted: a length that is merely
// announced must not keep others out.
std::optional<HttpReply> BodyInput::begin_piece() {
  const uint64_t room = room_for_piece(parser_.content_length().value_or(0));
  if (room > limits_.large_body_bytes && !lease_.grow_to(room)) {
    return error_reply(overloaded_error());
  }
  body_.reserve(room);
  parser_.get().body().data = piece_.get();
  parser_.get().body().size = kPieceBytes;
  return std::nullopt;
}

bool BodyInput::end_piece(const RequestInput::ErrorCode& ec, std::optional<HttpReply>* error) {
  if (ec == http::error::body_limit) {
    *error = body_too_large(limits_);
    return false;
  }
  if (ec && ec != http::error::need_buffer) {
    const bool malformed =
        is_http_error(ec) && ec != http::error::partial_message && ec != http::error::end_of_stream;
    if (malformed) *error = http_error(400, "the body is not well-formed");
    return false;
  }
  body_.append(piece_.get(), kPieceBytes - parser_.get().body().size);
  return true;
}

size_t BodyInput::next_read() const {
  return body_.size() >= kPieceBytes / 4 ? RequestInput::kLargeReadBytes
                                         : RequestInput::kSmallReadBytes;
}

}  // namespace deltaserve
