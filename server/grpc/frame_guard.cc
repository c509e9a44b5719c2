#include "server/grpc/frame_guard.h"

#include <algorithm>

namespace deltaserve {
namespace {

// Types of frames (RFC 9113, section 6).
enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kResetStream = 3,
  kSettings = 4,
  kPing = 6,
  kContinuation = 9,
};
constexpr uint8_t kAck = 1;  // flag of SETTINGS and PING: an answer to one of ours

}  // namespace

FrameGuard::FrameGuard(const FrameRates& rates)
    : streams_(rates.streams),
      resets_(rates.resets),
      pings_(rates.pings),
      settings_(rates.settings),
      header_block_bytes_(rates.header_bytes),
      others_(rates.others) {}

std::string_view FrameGuard::check(std::span<const char> bytes, Time now) {
  while (!bytes.empty()) {
    if (!opened()) {
      if (bytes.front() != kPreface[preface_bytes_]) return "not HTTP/2";
      ++preface_bytes_;
      bytes = bytes.subspan(1);
    } else if (skip_ > 0) {
      const size_t skipped = std::min<size_t>(skip_, bytes.size());
      skip_ -= static_cast<uint32_t>(skipped);
      bytes = bytes.subspan(skipped);
    } else {
      header_[header_bytes_++] = static_cast<uint8_t>(bytes.front());
      bytes = bytes.subspan(1);
      if (header_bytes_ < kHeaderBytes) continue;
      header_bytes_ = 0;
      if (const std::string_view fault = check_frame(now); !fault.empty()) return fault;
    }
  }
  return {};
}

// Checks the frame whose header is complete, and sets how many bytes of it are to be skipped.
std::string_view FrameGuard::check_frame(Time now) {
  const uint32_t length = uint32_t{header_[0]} << 16 | uint32_t{header_[1]} << 8 | header_[2];
  const uint8_t type = header_[3];
  const bool answer = (header_[4] & kAck) != 0;
  skip_ = length;
  switch (type) {
    case kData:
      if (length > 0) return {};
      break;
    case kHeaders:
      if (!streams_.take(1, now)) return "too many streams";
      if (!header_block_bytes_.take(length, now)) return "too many header bytes";
      return {};
    case kContinuation:
      if (!header_block_bytes_.take(length, now)) return "too many header bytes";
      break;
    case kResetStream: return resets_.take(1, now) ? "" : "too many resets";
    case kSettings:
      if (!answer) return settings_.take(1, now) ? "" : "too many settings";
      break;
    case kPing:
      if (!answer) return pings_.take(1, now) ? "" : "too many pings";
      break;
    default: break;
  }
  return others_.take(1, now) ? "" : "too many small frames";
}

}  // namespace deltaserve
