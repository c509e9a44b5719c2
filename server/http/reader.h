// Reads requests off a ByteStream: their heads, judged, and their bodies, in bounded memory.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <optional>
#include <string>

#include "server/base/limits.h"
#include "server/base/memory_budget.h"
#include "server/http/reply.h"
#include "server/net/byte_stream.h"

namespace deltaserve {

using HttpParser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

// Thread safety: call everything on the stream's strand.
class HttpReader {
 public:
  // Both arguments outlive the reader.
  HttpReader(ByteStream* stream, const ServerLimits& limits);

  // False: the connection ended between requests.
  boost::asio::awaitable<bool> wait_for_request();

  // Fills `head`, as far as it was understood. False: `error` is the reply, or it is unset because
  // the client is gone or too slow and there is nobody to tell.
  boost::asio::awaitable<bool> read_head(HttpParser* parser, RequestHead* head,
                                         std::optional<HttpReply>* error);

  // Appends to `body`. A body above limits.large_body_bytes grows `lease` with the bytes that have
  // come. False as above.
  boost::asio::awaitable<bool> read_body(HttpParser* parser, std::string* body,
                                         MemoryBudget::Lease* lease,
                                         std::optional<HttpReply>* error);

  // Reads on while a reply is computed and written, so that a closed connection shows at once.
  // Returns when the client is gone. A pipelined request stays in the buffer.
  boost::asio::awaitable<void> watch();

 private:
  static constexpr size_t kReadAheadBytes = 4096;

  boost::asio::awaitable<ByteStream::ErrorCode> parse_some(HttpParser* parser);
  bool skip_empty_lines();
  void take_head(const HttpParser& parser, RequestHead* head) const;
  std::optional<HttpReply> check_head(const HttpParser& parser, RequestHead* head) const;
  std::optional<HttpReply> check_framing(const HttpParser& parser, int http_minor) const;
  std::optional<HttpReply> error_of_head(const ByteStream::ErrorCode& ec) const;
  HttpReply body_too_large() const;
  HttpReply body_too_slow() const;
  uint64_t room_for_piece(const std::string& body, uint64_t announced) const;

  ByteStream* const stream_;
  const ServerLimits& limits_;
  boost::beast::flat_buffer buffer_;
  size_t piece_bytes_ = kReadAheadBytes;  // of one read
};

}  // namespace deltaserve
