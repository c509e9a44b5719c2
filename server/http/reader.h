// Reads requests off a ByteStream: their heads, judged, and their bodies, in bounded memory.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "server/base/limits.h"
#include "server/base/memory_budget.h"
#include "server/http/reply.h"
#include "server/http/request_input.h"
#include "server/net/byte_stream.h"

namespace deltaserve {

// Thread safety: call everything on the stream's strand.
class HttpReader {
 public:
  // Both arguments outlive the reader.
  HttpReader(ByteStream* stream, const ServerLimits& limits);

  // Waits for the next request. Returns false if the connection ended first.
  boost::asio::awaitable<bool> wait_for_request();

  // Fills `head`, as far as it was understood. Returns false if there is no valid head. Then
  // `error` is the reply, or it is unset because the client is gone or too slow and there is nobody
  // to tell.
  boost::asio::awaitable<bool> read_head(HttpParser* parser, RequestHead* head,
                                         std::optional<HttpReply>* error);

  // Appends to `body`. A body above limits.large_body_bytes grows `lease` with the bytes that have
  // come. Returns false if the body is not valid; `error` is as above.
  boost::asio::awaitable<bool> read_body(HttpParser* parser, std::string* body,
                                         MemoryBudget::Lease* lease,
                                         std::optional<HttpReply>* error);

  // Reads on while a reply is computed and written, so that a closed connection shows at once.
  // Returns when the client is gone. A pipelined request stays in the buffer.
  boost::asio::awaitable<void> watch();

 private:
  boost::asio::awaitable<ByteStream::ErrorCode> parse_some(HttpParser* parser, size_t read_bytes);
  HttpReply body_too_slow() const;

  ByteStream* const stream_;
  const ServerLimits& limits_;
  RequestInput input_;
};

}  // namespace deltaserve
