// The bytes of one connection as requests, without I/O: who reads them from a socket hands them
// over as they come. Heads are judged, and bodies taken in bounded memory.
#pragma once
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/base/limits.h"
#include "server/base/memory_budget.h"
#include "server/http/reply.h"

namespace deltaserve {

using HttpParser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

// Thread safety: one thread at a time.
class RequestInput {
 public:
  using ErrorCode = boost::system::error_code;

  static constexpr size_t kSmallReadBytes = 4096;
  static constexpr size_t kLargeReadBytes = 64 * 1024;

  // `limits` outlives the object.
  explicit RequestInput(const ServerLimits& limits);

  // ---- Bytes

  // Returns room for the next bytes, at most `most`; none: the buffer is full.
  boost::asio::mutable_buffer room(size_t most);
  // Takes bytes that were written there.
  void received(size_t bytes) { buffer_.commit(bytes); }
  size_t buffered() const { return buffer_.size(); }

  // ---- Between requests

  // Drops line breaks, which RFC 9112 (2.2) wants ignored. Returns whether the first byte of a
  // request is there.
  bool skip_empty_lines();

  // ---- Heads and bodies

  void begin_head(HttpParser* parser);
  // Lets the parser read the bytes that are there. Errors are the parser's: need_more asks for
  // bytes, need_buffer says that a piece of the body is full.
  ErrorCode parse(HttpParser* parser);
  // Tells the parser that no more bytes come, and returns what that is for it.
  static ErrorCode end(HttpParser* parser);

  // Fills `head` from a head that was read. Returns the reply if it is not served.
  std::optional<HttpReply> take_head(const HttpParser& parser, RequestHead* head) const;
  // Returns the reply to a head that could not be read; nullopt: there is nobody to tell.
  std::optional<HttpReply> error_of_head(const ErrorCode& ec) const;

 private:
  std::optional<HttpReply> check_head(const HttpParser& parser, RequestHead* head) const;

  const ServerLimits& limits_;
  boost::beast::flat_buffer buffer_;
  size_t head_bytes_ = 0;  // that the parser has read of the head
};

// The body of a request whose head was read. The arguments outlive the object.
class BodyInput {
 public:
  // Appends to `body`. One above limits.large_body_bytes grows `lease` with the bytes that have
  // come.
  BodyInput(const ServerLimits& limits, HttpParser* parser, std::string* body,
            MemoryBudget::Lease* lease);

  bool done() const { return parser_.is_done(); }
  // Makes room for a piece, into which the parser then writes. Returns the reply if there is none.
  std::optional<HttpReply> begin_piece();
  // Takes the piece, after parse() has returned `ec`. Returns false if the body ends here; then
  // `error` is the reply, or unset if there is nobody to tell.
  bool end_piece(const RequestInput::ErrorCode& ec, std::optional<HttpReply>* error);
  // Returns how many bytes the next read should ask for: a small body needs no large buffer, and
  // there may be many connections.
  size_t next_read() const;

 private:
  uint64_t room_for_piece(uint64_t announced) const;

  const ServerLimits& limits_;
  HttpParser& parser_;
  std::string& body_;
  MemoryBudget::Lease& lease_;
  const std::unique_ptr<char[]> piece_;
};

}  // namespace deltaserve
