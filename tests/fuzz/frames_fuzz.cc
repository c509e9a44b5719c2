// Fuzzes what comes before any request: the frames of a gRPC connection and the lines of a key
// file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/base/check.h"
#include "server/base/key_ring.h"
#include "server/grpc/frame_guard.h"

namespace {

using namespace deltaserve;

constexpr FrameGuard::Time kNow{std::chrono::hours(1)};
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Returns the verdict on bytes that come in pieces of `size`.
std::string_view verdict(std::span<const char> bytes, size_t size) {
  constexpr Rate kFew{3, 1};
  FrameGuard guard({kFew, kFew, kFew, kFew, {100, 10}, kFew});
  DS_CHECK(guard.check(kPreface, kNow).empty() && guard.opened());
  while (!bytes.empty()) {
    const auto piece = bytes.subspan(0, std::min(size, bytes.size()));
    bytes = bytes.subspan(piece.size());
    if (const std::string_view fault = guard.check(piece, kNow); !fault.empty()) return fault;
  }
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  DS_CHECK(verdict(bytes, bytes.size() + 1) == verdict(bytes, 1 + data[0] % 16));
  const auto ring = KeyRing::parse({bytes.data(), bytes.size()}, "keys");
  if (ring.ok()) DS_CHECK(!ring->empty() && !ring->owner_of(""));
  return 0;
}
