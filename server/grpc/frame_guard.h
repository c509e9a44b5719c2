// Checks the frames that a client sends on an HTTP/2 connection, before the library sees them. The
// library bounds streams and messages, but not how fast a client opens and resets streams, pings or
// sends headers, and its memory grows with them.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "server/base/token_bucket.h"
#include "server/grpc/limits.h"

namespace deltaserve {

// Reads frame headers (RFC 9113, section 4.1) and skips the payloads.
//
// Thread safety: one thread at a time.
class FrameGuard {
 public:
  using Time = TokenBucket::Time;

  explicit FrameGuard(const FrameRates& rates);

  // Takes the next bytes of the connection. Returns in a few words why the connection must be
  // closed; empty if it may go on. After a reason was returned, do not call it again.
  std::string_view check(std::span<const char> bytes, Time now);
  // Returns true if the preface with which every client begins is complete.
  bool opened() const { return preface_bytes_ == kPreface.size(); }

 private:
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  static constexpr size_t kHeaderBytes = 9;

  std::string_view check_frame(Time now);

  size_t preface_bytes_ = 0;           // that have come
  uint8_t header_[kHeaderBytes] = {};  // of the next frame
  size_t header_bytes_ = 0;            // that have come
  uint32_t skip_ = 0;                  // bytes of the frame's payload that are still to come
  TokenBucket streams_, resets_, pings_, settings_, header_block_bytes_, others_;
};

}  // namespace deltaserve
